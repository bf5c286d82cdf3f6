"""The page to read first: one request from its admission to its last token.

    Generation -> check -> admit -> 1 route -> 2 fit -> 3 measure -> 4 run -> Plan, Delta, Delta, …, Done

Promise: the first event is the plan and the last the summary; whatever is wrong with a request is found before the
engine hears of it; and closing the events for any reason takes the request out of the engine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from expert_system.domain import (
    Done,
    EngineState,
    Event,
    ExpertRef,
    Generation,
    Plan,
    PlannedExpert,
    Timings,
)
from expert_system.engine.interface import Engine, EngineRequest, Finished
from expert_system.engine.sets import compose
from expert_system.errors import EngineError, EngineUnavailable, InvalidRequest, VerificationError
from expert_system.package.stored import StoredExpert
from expert_system.requests import limits
from expert_system.requests.admission import Admission
from expert_system.requests.effective import effective, fit_max_tokens, templated
from expert_system.telemetry import RequestLine, request_line

Find = Callable[[str, str | None], StoredExpert]
"""Looks an expert up in the store by name and version (None is the default one), or raises UnknownExpert."""


class Serving:
    """Answers requests with one engine and the experts of one store."""

    def __init__(self, engine: Engine, find: Find, *, max_requests: int, dev: bool) -> None:
        """Join the parts.

        Args:
            engine: what produces tokens.
            find: looks an expert up; runs in a thread.
            max_requests: how many requests may be in flight at once.
            dev: whether experts that nobody verified may run.
        """
        self._engine = engine
        self._find = find
        self._dev = dev
        self.admission = Admission(max_requests)

    async def generate(self, generation: Generation) -> AsyncGenerator[Event, None]:
        """Answer one request.

        Raises:
            RequestError: the request cannot be served as it is; nothing has reached the engine.
            EngineUnavailable: the engine is not ready, or died under this request.
        """
        with request_line(generation) as line:
            limits.check(generation)
            with self.admission.admit(generation.request_id):
                async with aclosing(self._answer(generation, line)) as events:
                    async for event in events:
                        yield event

    async def _answer(self, generation: Generation, line: RequestLine) -> AsyncGenerator[Event, None]:
        started = time.perf_counter()
        self._require_ready()
        base = self._engine.base

        experts = await self.route(generation.experts)
        composed = compose([(e, r.weight) for e, r in experts], base=base) if experts else None
        planned = composed.planned if composed else ()
        route_s = time.perf_counter() - started

        ordered = _in_load_order(experts, planned)
        token_ids, template = await self._token_ids(generation, ordered)
        parameters = fit_max_tokens(
            await asyncio.to_thread(effective, generation.sampling, ordered),
            prompt_tokens=len(token_ids),
            virtual_tokens=composed.virtual_tokens if composed else 0,
            context_tokens=base.context_tokens,
        )

        plan = Plan(
            request_id=generation.request_id,
            experts=planned,
            set_digest=composed.expert_set.digest if composed else None,
            base=base.name,
            parameters=parameters.described() | ({"prompt_template": f"set ({template})"} if template else {}),
        )
        line.planned(plan)
        yield plan

        request = EngineRequest(
            request_id=generation.request_id,
            token_ids=token_ids,
            expert_set=composed.expert_set if composed else None,
            sampling=parameters.sampling,
            priority=generation.priority,
            trace_headers=generation.trace_headers,
        )
        async with aclosing(self._engine.generate(request)) as produced:
            async for event in produced:
                if isinstance(event, Finished):
                    done = _done(event, planned, route_s=route_s, total_s=time.perf_counter() - started)
                    line.done(done)
                    yield done
                    return
                yield event
        raise EngineError(f"the engine ended request {generation.request_id} without a last word")

    async def route(self, references: Sequence[ExpertRef]) -> list[tuple[StoredExpert, ExpertRef]]:
        """Find what the caller named; no names is the base alone.

        Raises:
            UnknownExpert: the store has no such name or version.
            VerificationError: nobody verified the expert, and this server was not started with `--dev`.
        """
        return [(await asyncio.to_thread(self.stored, reference), reference) for reference in references]

    def stored(self, reference: ExpertRef) -> StoredExpert:
        """One expert that this server may run; reads the store, so call it in a thread."""
        found = self.installed(reference)
        if not found.verified and not self._dev:
            raise VerificationError(
                "4.4",
                f"{reference.name} was installed with --dev and nobody verified it; "
                "install a signed version, or start the server with --dev",
            )
        return found

    def installed(self, reference: ExpertRef) -> StoredExpert:
        """One expert of the store, whether or not this server may run it."""
        return self._find(reference.name, reference.version)

    def _require_ready(self) -> None:
        if self._engine.state is not EngineState.READY:
            raise EngineUnavailable(f"the engine is {self._engine.state}; try again shortly")

    async def _token_ids(
        self, generation: Generation, experts: Sequence[StoredExpert]
    ) -> tuple[tuple[int, ...], str | None]:
        """The prompt as the base reads it, and whose prompt template stands around it."""
        if generation.prompt is None:
            messages, template = templated(generation.messages, experts, self._engine.base.digest)
            return await self._engine.render(messages), template
        token_ids = await self._engine.tokenize(generation.prompt)
        if not token_ids:
            raise InvalidRequest("prompt", "has no token in the base's vocabulary")
        return token_ids, None


def _in_load_order(
    experts: Sequence[tuple[StoredExpert, ExpertRef]], planned: Sequence[PlannedExpert]
) -> list[StoredExpert]:
    by_digest = {expert.digest: expert for expert, _ in experts}
    return [by_digest[entry.digest] for entry in planned]


def _done(finished: Finished, planned: tuple[PlannedExpert, ...], *, route_s: float, total_s: float) -> Done:
    return Done(
        finish_reason=finished.finish_reason,
        usage=finished.usage,
        timings=Timings(
            route_s=route_s,
            attach_s=finished.attach_s,
            queue_s=finished.queue_s,
            prefill_s=finished.prefill_s,
            decode_s=finished.decode_s,
            total_s=total_s,
        ),
        experts=planned,
    )

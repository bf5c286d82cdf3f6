"""The page to read first: one request from its admission to its last token.

    Generation -> check -> admit -> 1 route -> 2 fit -> 3 measure -> 4 run -> Plan, Delta, Delta, …, Done

Promise: the first event is the plan and the last the summary; whatever is wrong with a request is found before the
engine hears of it; and closing the events for any reason takes the request out of the engine.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from expert_system.domain import (
    Digest,
    Done,
    EngineState,
    Event,
    ExpertRef,
    ExpertSet,
    Generation,
    Message,
    Plan,
    PlannedExpert,
    Role,
    RouteWish,
    Routing,
    Sampling,
    Timings,
)
from expert_system.engine.interface import Engine, EngineRequest, Finished
from expert_system.engine.sets import compose
from expert_system.errors import (
    EngineError,
    EngineUnavailable,
    IntegrityError,
    InvalidRequest,
    RouterUnavailable,
    UnknownExpert,
    VerificationError,
)
from expert_system.package.stored import StoredExpert
from expert_system.requests import limits
from expert_system.requests.admission import Admission
from expert_system.requests.effective import NOTHING_SUGGESTED, effective, fit_max_tokens, templated
from expert_system.routing.keeper import Keeper
from expert_system.routing.router import Router, ServedLimits
from expert_system.telemetry import RequestLine, request_line

Find = Callable[[str, str | None], StoredExpert]
"""Looks an expert up in the store by name and version (None is the default one), or raises UnknownExpert."""


REMEMBERED_SETS = 1024
"""Sets whose members are remembered, so that the router can be told which experts the engine holds."""


class Serving:
    """Answers requests with one engine and the experts of one store."""

    def __init__(
        self, engine: Engine, find: Find, *, max_requests: int, dev: bool, routing: Keeper | None = None
    ) -> None:
        """Join the parts.

        Args:
            engine: what produces tokens.
            find: looks an expert up; runs in a thread.
            max_requests: how many requests may be in flight at once.
            dev: whether experts that nobody verified may run.
            routing: chooses experts for requests that name none; None leaves those to the base.
        """
        self._engine = engine
        self._keeper = routing
        self._sets: OrderedDict[Digest, tuple[Digest, ...]] = OrderedDict()
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

        experts, routing = await self._chosen(generation)
        composed = compose([(e, r.weight) for e, r in experts], base=base) if experts else None
        planned = composed.planned if composed else ()
        route_s = time.perf_counter() - started
        if composed is not None:
            self._remember(composed.expert_set)

        ordered = _in_load_order(experts, planned)
        token_ids, template = await self._token_ids(generation, ordered)
        parameters = fit_max_tokens(
            await asyncio.to_thread(
                effective, generation.sampling, ordered, routing.suggested if routing else NOTHING_SUGGESTED
            ),
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
            routing=routing,
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

    async def plan(self, text: str, wish: RouteWish, sampling: Sampling, *, request_id: str) -> Routing:
        """Which experts a prompt needs, for a caller who asks just that.

        Raises:
            RouterUnavailable: this server routes nothing.
            RequestError: what the caller insists on cannot be had.
        """
        limits.check_wish(wish)
        limits.check_sampling(sampling)
        self._require_ready()
        if self._keeper is None:
            raise RouterUnavailable("this server has no router; name the experts")
        router = await asyncio.to_thread(self._keeper.require)
        return await self._routed(router, text, wish, sampling, request_id)

    async def _chosen(self, generation: Generation) -> tuple[list[tuple[StoredExpert, ExpertRef]], Routing | None]:
        """The experts that the caller named, or else those that the router chooses."""
        wish = generation.routing
        if generation.experts or wish.enabled is False or (self._keeper is None and not (wish.enabled or wish.force)):
            return await self.route(generation.experts), None
        if wish.enabled or wish.force:
            if self._keeper is None:
                raise RouterUnavailable("this server has no router; name the experts")
            router: Router | None = await asyncio.to_thread(self._keeper.require)
        else:
            assert self._keeper is not None
            router = self._keeper.current()
        if router is None:
            return [], None
        text = routed_text(generation.prompt, generation.messages)
        routing = await self._routed(router, text, wish, generation.sampling, generation.request_id)
        try:
            return await self.route(_references(routing)), routing
        except (UnknownExpert, IntegrityError):
            # It went away, or turned out to be damaged, after the router last looked at the store.
            await asyncio.to_thread(router.refresh)
            routing = await self._routed(router, text, wish, generation.sampling, generation.request_id)
            return await self.route(_references(routing)), routing

    async def _routed(self, router: Router, text: str, wish: RouteWish, sampling: Sampling, request_id: str) -> Routing:
        base = self._engine.base
        held = {found.set_digest for found in await self._engine.residencies()} if router.weighs_residency else ()
        return await asyncio.to_thread(
            router.route,
            text,
            wish,
            sampling=sampling,
            served=ServedLimits(base=base.digest, max_rank=base.max_rank),
            resident=frozenset(expert for digest in held for expert in self._sets.get(digest, ())),
            request_id=request_id,
        )

    def _remember(self, expert_set: ExpertSet) -> None:
        self._sets[expert_set.digest] = tuple(member.expert for member in expert_set.members)
        self._sets.move_to_end(expert_set.digest)
        if len(self._sets) > REMEMBERED_SETS:
            self._sets.popitem(last=False)

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


def routed_text(prompt: str | None, messages: Sequence[Message]) -> str:
    """The text that decides which experts are needed: the raw prompt, or the last message of the user."""
    if prompt is not None:
        return prompt
    return next((message.content for message in reversed(messages) if message.role is Role.USER), "")


def _references(routing: Routing) -> tuple[ExpertRef, ...]:
    return tuple(ExpertRef(name=e.name, version=e.version, weight=e.weight) for e in routing.experts)


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

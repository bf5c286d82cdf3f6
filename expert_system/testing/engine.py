"""An engine without a model: deterministic, instant, and as slow, full or dead as a test wants it.

    EngineRequest -> one Delta for each token -> Finished

Promise: the same request gets the same answer, an answer says which expert set produced it, and `running` is empty
as soon as every consumer has left.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
from collections.abc import AsyncGenerator, Sequence

from expert_system.domain import (
    Delta,
    Digest,
    EngineState,
    ExpertSet,
    FinishReason,
    Message,
    TokenLogprob,
    Usage,
)
from expert_system.engine.interface import Attached, EngineRequest, Finished, Residency, ServedBase
from expert_system.errors import EngineUnavailable, Overloaded, RequestError

FAKE_BASE = ServedBase(
    name="fake-base",
    digest=Digest(hashlib.sha256(b"fake-base").hexdigest()),
    context_tokens=4096,
    slots=4,
    max_rank=64,
    vocabulary=256,
    dtype="float32",
)


class FakeEngine:
    """Answers every prompt with numbered words that name the expert set; a byte is a token."""

    def __init__(
        self, *, base: ServedBase = FAKE_BASE, token_s: float = 0.0, start_s: float = 0.0, answer: str | None = None
    ) -> None:
        """Choose the pace and, instead of the numbered words, a fixed answer.

        Args:
            base: what it claims to serve.
            token_s: seconds for each token.
            start_s: seconds until it is ready.
            answer: the text of every answer.
        """
        self._base = base
        self._token_s = token_s
        self._start_s = start_s
        self._answer = answer
        self._state = EngineState.STOPPED
        self._death = asyncio.Event()
        self._held: dict[Digest, Residency] = {}
        self.full = False
        """Set it to have every request refused as over budget."""
        self.running: set[str] = set()
        """Ids of the requests inside the engine now."""
        self.seen: list[EngineRequest] = []
        """Every request that ever reached it."""

    @property
    def state(self) -> EngineState:
        """Where in its life the engine is."""
        return self._state

    @property
    def base(self) -> ServedBase:
        """The base it claims to serve."""
        if self._state is EngineState.STARTING:
            raise EngineUnavailable("the engine is starting")
        return self._base

    async def start(self) -> None:
        """Become ready after `start_s`."""
        self._state = EngineState.STARTING
        await asyncio.sleep(self._start_s)
        self._state = EngineState.READY

    async def stop(self) -> None:
        """End everything that runs."""
        self._end_all(EngineState.STOPPED)

    def die(self) -> None:
        """End everything that runs and restart until `revive`."""
        self._end_all(EngineState.RESTARTING)

    def revive(self) -> None:
        """Be ready again, with nothing in memory."""
        self._death = asyncio.Event()
        self._held.clear()
        self._state = EngineState.READY

    async def render(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Bytes of `role: content` lines."""
        return await self.tokenize("".join(f"{m.role}: {m.content}\n" for m in messages))

    async def tokenize(self, prompt: str) -> tuple[int, ...]:
        """Bytes of the prompt."""
        return tuple(prompt.encode())

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Delta | Finished, None]:
        """Words until a stop string, `max_tokens` or death."""
        if self._state is not EngineState.READY:
            raise EngineUnavailable(f"the engine is {self._state}")
        if self.full:
            raise Overloaded("the fake engine is full", retry_after_s=0.5)
        self.seen.append(request)
        self.running.add(request.request_id)
        try:
            if request.expert_set is not None:
                await self.load(request.expert_set)
            limit = request.sampling.max_tokens or 16
            reason, count = FinishReason.LENGTH, 0
            for word in itertools.islice(self._words(request), limit):
                await self._pause()
                if any(stop in word for stop in request.sampling.stop or ()):
                    reason = FinishReason.STOP
                    break
                count += 1
                yield _delta(word, count, request.sampling.logprobs)
            if self._answer is not None and count < limit:
                reason = FinishReason.STOP
            yield Finished(
                finish_reason=reason,
                usage=Usage(prompt_tokens=len(request.token_ids), completion_tokens=count),
                attach_s=0.0,
                queue_s=0.0,
                prefill_s=0.0,
                decode_s=count * self._token_s,
            )
        finally:
            self.running.discard(request.request_id)

    async def load(self, expert_set: ExpertSet) -> Attached:
        """Remember the set; the first `slots` sets are in a slot."""
        if expert_set.digest in self._held:
            return Attached(load_s=0.0, attach_s=0.0)
        in_slot = sum(held.in_slot for held in self._held.values()) < self._base.slots
        self._held[expert_set.digest] = Residency(
            set_digest=expert_set.digest, in_slot=in_slot, pinned=False, size_bytes=1000 * len(expert_set.members)
        )
        return Attached(load_s=0.01, attach_s=0.001)

    async def unload(self, set_digest: Digest) -> None:
        """Forget the set; refused while a request runs with it."""
        if any(r.request_id in self.running and r.expert_set and r.expert_set.digest == set_digest for r in self.seen):
            raise RequestError("a running request uses it; try again when it has ended")
        self._held.pop(set_digest, None)

    async def pin(self, expert_set: ExpertSet, *, pinned: bool) -> None:
        """Remember the pin."""
        await self.load(expert_set)
        held = self._held[expert_set.digest]
        self._held[expert_set.digest] = Residency(
            set_digest=held.set_digest, in_slot=held.in_slot, pinned=pinned, size_bytes=held.size_bytes
        )

    async def residencies(self) -> tuple[Residency, ...]:
        """Every set that was loaded and not unloaded."""
        return tuple(self._held.values())

    def _end_all(self, state: EngineState) -> None:
        self._state = state
        self._death.set()

    def _words(self, request: EngineRequest) -> itertools.chain[str]:
        if self._answer is not None:
            return itertools.chain(re.findall(r"\s*\S+", self._answer))
        who = request.expert_set.digest[:8] if request.expert_set else "base"
        return itertools.chain([f"{who}:"], (f" word{number}" for number in itertools.count(1)))

    async def _pause(self) -> None:
        """One token's time, cut short by death."""
        if self._token_s:
            try:
                async with asyncio.timeout(self._token_s):
                    await self._death.wait()
            except TimeoutError:
                pass
        else:
            await asyncio.sleep(0)
        if self._death.is_set():
            raise EngineUnavailable("the engine died under this request; it is being restarted")


def _delta(word: str, token_id: int, logprobs: int | None) -> Delta:
    if logprobs is None:
        return Delta(text=word, token_ids=(token_id,))
    top = tuple((token_id + rank, -0.5 - rank) for rank in range(logprobs))
    return Delta(text=word, token_ids=(token_id,), logprobs=(TokenLogprob(token_id=token_id, logprob=-0.5, top=top),))

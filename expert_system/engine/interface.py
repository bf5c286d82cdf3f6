"""What the serving page needs from an engine: the real one wraps vLLM, the shipped fake is for unit tests.

EngineRequest -> Delta, Delta, … -> Finished
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from expert_system.domain import (
    Delta,
    Digest,
    EngineState,
    ExpertSet,
    FinishReason,
    Message,
    Sampling,
    Usage,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedBase:
    """The base model that an engine serves, and its limits."""

    name: str
    digest: Digest
    """What experts bind to: the digest of the unquantised weights (formats.md 1.3)."""
    context_tokens: int
    slots: int
    max_rank: int
    """Most ranks that one set may need in any module."""
    vocabulary: int
    dtype: str
    """Number format that the engine computes in, such as `bfloat16`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """One prompt for the engine; every sampling field that matters is set."""

    request_id: str
    token_ids: tuple[int, ...]
    expert_set: ExpertSet | None
    sampling: Sampling
    priority: int = 5
    trace_headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The engine's last word on a request; times in seconds."""

    finish_reason: FinishReason
    usage: Usage
    attach_s: float
    queue_s: float
    prefill_s: float
    decode_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """What loading a set cost; 0 where nothing had to be done. Times in seconds."""

    load_s: float
    attach_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Residency:
    """Where the engine holds one set now."""

    set_digest: Digest
    in_slot: bool
    pinned: bool
    size_bytes: int
    """Host memory of its experts' weights."""


class Engine(Protocol):
    """A base model that runs requests with different expert sets side by side in one batch."""

    @property
    def state(self) -> EngineState:
        """Where in its life the engine is."""

    @property
    def base(self) -> ServedBase:
        """The base; known once started.

        Raises:
            EngineUnavailable: before the first start has finished.
        """

    async def start(self) -> None:
        """Return when warm, with the plugin's handshake done; afterwards a dead engine restarts by itself."""

    async def stop(self) -> None:
        """Abort what runs and free everything; safe to call twice."""

    async def render(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Token ids of the messages under the base's chat template, ready for the assistant's turn."""

    async def tokenize(self, prompt: str) -> tuple[int, ...]:
        """Token ids of a raw prompt, special tokens as the base's tokenizer adds them."""

    def generate(self, request: EngineRequest) -> AsyncGenerator[Delta | Finished, None]:
        """Run one request; closing the generator takes it out of the engine.

        Raises:
            EngineUnavailable: starting, restarting, or died under this request.
            AdapterRefused, IntegrityError: the set's weights cannot be served.
        """

    async def load(self, expert_set: ExpertSet) -> Attached:
        """Bring a set into memory and, when a slot is idle, into a slot."""

    async def unload(self, set_digest: Digest) -> None:
        """Free its slot and memory.

        Raises:
            RequestError: a running or waiting request uses it.
        """

    async def pin(self, expert_set: ExpertSet, *, pinned: bool) -> None:
        """Keep a set in host memory, or let go of it again; loads it when needed."""

    async def residencies(self) -> tuple[Residency, ...]:
        """Every set that the engine holds, most recently used last."""

"""What a benchmark and the child process that holds its engine say to each other, as JSON lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from typing import Any

from benchmarks.common.statistics import gaps

Members = tuple[tuple[str, float], ...]
"""Names and weights of a set's experts; empty is the base alone."""


class Flavour(StrEnum):
    """Which engine."""

    PLAIN = "plain"
    """vLLM as it is, without LoRA."""
    STOCK = "stock"
    """vLLM as it is, with LoRA on its own CPU kernels."""
    EXPERTS = "experts"
    """The Expert System."""
    PEFT = "peft"
    """Transformers with PEFT."""
    LLAMA = "llama"
    """llama.cpp's server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One engine."""

    flavour: Flavour
    dtype: str = "bfloat16"
    """Of vLLM's engines, ours included."""
    slots: int = 16
    max_rank: int = 256
    max_sequences: int = 32
    step_tokens: int = 128
    context_tokens: int = 1024
    kv_cache_bytes: int = 512 * 1024**2
    own_worker: bool = False
    """Give the worker a process of its own, as vLLM does; the Expert System only."""
    bytecode: bool = True
    """Whether Python may read what set-up has compiled of the imports."""
    compiled: bool = False
    """Run the base through torch.compile instead of eagerly; vLLM without LoRA only."""
    packed: bool = False
    """Let the base have the packed BF16 product of our plugin; vLLM without LoRA only."""
    adapters: Sequence[str] = ()
    """Loaded at the start, by engines that cannot load any later."""
    gguf: str = ""
    """Folder of the converted files, and the server; llama.cpp only."""
    llama_server: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One prompt, greedy, to exactly `tokens` tokens."""

    ids: Sequence[int]
    members: Members = ()
    tokens: int
    at_s: float = 0.0
    """When it arrives, from the start of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Something done to the engine's sets while requests run."""

    at_s: float
    load: Members
    unload: Members = ()
    """Let go of this set first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """An action as it happened; seconds from the start of the run."""

    began_s: float
    ended_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One request as it happened; seconds from the start of the run."""

    at_s: float
    times_s: Sequence[float]
    """When each token came; tokens that came together have one time."""

    @property
    def first_token_s(self) -> float:
        """From the arrival to the first token."""
        return self.times_s[0] - self.at_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of requests."""

    streams: Sequence[Stream]
    actions: Sequence[Done] = field(default=())

    @property
    def tokens_per_s(self) -> float:
        """Of all streams together, prompts included in the time but not counted."""
        began = min(stream.at_s for stream in self.streams)
        ended = max(stream.times_s[-1] for stream in self.streams)
        return sum(len(stream.times_s) for stream in self.streams) / (ended - began)

    @property
    def gaps_s(self) -> list[float]:
        """Every gap between two tokens of one stream."""
        return [gap for stream in self.streams for gap in gaps(stream.times_s)]

    @property
    def step_ms(self) -> float:
        """A step of the engine while all streams generate: the median gap."""
        return 1000 * median(self.gaps_s)


def setup_of(values: dict[str, Any]) -> Setup:
    """A setup from its JSON."""
    return Setup(**{**values, "flavour": Flavour(values["flavour"])})


def run_of(answer: dict[str, Any]) -> Run:
    """A run from its JSON."""
    return Run(
        streams=[Stream(**stream) for stream in answer["streams"]],
        actions=[Done(**done) for done in answer["actions"]],
    )

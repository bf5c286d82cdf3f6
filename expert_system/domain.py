"""Frozen value types that every part of the system speaks in.

    Generation (what a caller asks) -> Plan (who will run) -> ExpertSet (what runs) -> Event (what comes back)

Promise: this module imports nothing of ours but errors, holds no I/O, and every value in it is immutable.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from expert_system.errors import InvalidRequest

Digest = NewType("Digest", str)
"""Lower-case hex sha256; an expert's is that of its signed payload (formats.md 3.3)."""

MAX_EXPERTS = 10
"""Experts in one inference: a hard limit of the mission, checked at every door."""
MAX_WEIGHT = 4.0
"""Largest weight of an expert in a set; 1 is the expert as trained, towards 0 it becomes the base."""
MAX_NAME_LENGTH = 64

_NAME = re.compile(r"expert-[a-z0-9]+(-[a-z0-9]+)*")
_VERSION = re.compile(r"(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})")


def expert_name(text: str) -> str:
    """Return the full name of an expert: "sql" and "expert-sql" are the same (formats.md 1.2).

    Raises:
        InvalidRequest: when the name does not fit the pattern or is too long.
    """
    name = text if text.startswith("expert-") else f"expert-{text}"
    if len(name) > MAX_NAME_LENGTH or _NAME.fullmatch(name) is None:
        raise InvalidRequest(
            "experts", f"{text!r} is not an expert name; use lower-case letters, digits and single hyphens"
        )
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertRef:
    """How a caller names an expert: `NAME[@VERSION][=WEIGHT]` (formats.md 1.2)."""

    name: str
    version: str | None = None
    weight: float | None = None
    """None is the manifest's own `composition.weight`."""

    def __post_init__(self) -> None:
        """Refuse names, versions and weights that cannot mean anything."""
        object.__setattr__(self, "name", expert_name(self.name))
        if self.version is not None and _VERSION.fullmatch(self.version) is None:
            raise InvalidRequest("experts", f"{self.version!r} is not a version; write X.Y.Z, as in {self.name}@1.0.0")
        if self.weight is not None:
            check_weight(self.name, self.weight)

    @classmethod
    def parse(cls, text: str) -> ExpertRef:
        """Read one reference from its written form."""
        head, weight = split_weight(text)
        name, at, version = head.partition("@")
        return cls(name=name, version=version if at else None, weight=weight)

    def __str__(self) -> str:
        """The written form again."""
        version = f"@{self.version}" if self.version else ""
        weight = f"={self.weight:g}" if self.weight is not None else ""
        return f"{self.name}{version}{weight}"


def split_weight(text: str) -> tuple[str, float | None]:
    """Read `SOMETHING[=WEIGHT]`; whether the number can be a weight is for `check_weight`.

    Raises:
        InvalidRequest: what follows the = is not a number.
    """
    head, equals, number = text.partition("=")
    try:
        return head, float(number) if equals else None
    except ValueError:
        raise InvalidRequest("experts", f"the weight in {text!r} is not a number") from None


def check_weight(name: str, weight: float) -> None:
    """Refuse a weight that is not finite or not within (0, MAX_WEIGHT]."""
    if not math.isfinite(weight) or not 0.0 < weight <= MAX_WEIGHT:
        raise InvalidRequest("experts", f"weight {weight} of {name} must be above 0 and at most {MAX_WEIGHT:g}")


class Category(StrEnum):
    """What kind of thing an expert knows; later categories win where order decides (mission.md)."""

    FORMAT = "format"
    LANGUAGE = "language"
    TECH = "tech"
    DOMAIN = "domain"
    TASK = "task"

    @property
    def band(self) -> tuple[int, int]:
        """Lowest and highest `load_order` of the category (formats.md 1.6)."""
        first = 1 + 2 * list(Category).index(self)
        return first, first + 1


class Role(StrEnum):
    """Who speaks in a chat message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str


class GrammarType(StrEnum):
    """How a grammar is written; the names are those of vLLM's structured outputs."""

    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    EBNF = "ebnf"
    CHOICE = "choice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """A constraint on the output that vLLM's structured outputs enforce."""

    type: GrammarType
    source: str
    """The JSON Schema, pattern or grammar itself; choices are separated by new lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Sampling parameters under vLLM's names; None means "not set by the caller"."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    ignore_eos: bool | None = None
    logprobs: int | None = None
    grammar: Grammar | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteWish:
    """What a caller wants of the router."""

    enabled: bool | None = None
    """None is the server's setting: route when no expert is named and routing is on."""
    max_experts: int | None = None
    """Most experts of the plan, besides the server's limit and MAX_EXPERTS; 0 is the base alone."""
    force: tuple[ExpertRef, ...] = ()
    """Experts that the plan holds whatever their scores."""
    exclude: tuple[str, ...] = ()
    """Full names of experts that the plan never holds, not even because another requires them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One request for text, as any door hands it to `serving.generate`."""

    request_id: str
    prompt: str | None = None
    """Sent to the base untouched; exactly one of prompt and messages is given."""
    messages: tuple[Message, ...] = ()
    """Rendered with the base's chat template."""
    experts: tuple[ExpertRef, ...] = ()
    routing: RouteWish = field(default_factory=RouteWish)
    sampling: Sampling = field(default_factory=Sampling)
    priority: int = 5
    """0 is most urgent, 9 least."""
    trace_headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One expert of a set."""

    expert: Digest
    weight: float = 1.0
    """Multiplies the expert's own alpha / r."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertSet:
    """What one request runs with: ordered, weighted, content-addressed (built by `engine.sets`)."""

    digest: Digest
    base: Digest
    members: tuple[Member, ...]
    """In load order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedExpert:
    """One expert of a plan: everything needed to trace an answer to signed content."""

    name: str
    version: str
    digest: Digest
    weight: float
    category: Category
    load_order: int
    verified: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedExpert:
    """One expert that the router chose."""

    name: str
    version: str
    digest: Digest
    weight: float
    score: float
    """How well it fits the prompt, 0 to 1."""
    category: Category
    load_order: int
    reasons: tuple[str, ...]
    """Why it is in the plan, the strongest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedExpert:
    """One of the best experts that the router did not choose, and why."""

    name: str
    score: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """The router's part of a plan: which experts, in which order, with which parameters, and why."""

    experts: tuple[RoutedExpert, ...]
    """In load order; none when the router abstains."""
    rejected: tuple[RejectedExpert, ...]
    """The best of the others, by score."""
    reasons: tuple[str, ...]
    parameters: Mapping[str, str]
    """Sampling parameters that the caller, an expert or the router sets, each as `value (source)`."""
    suggested: Sampling
    """Defaults for the kind of task; weaker than the caller's and the experts' own."""
    router_version: str
    encoder_digest: str
    catalogue_digest: str

    @property
    def abstained(self) -> bool:
        """Whether the base answers alone."""
        return not self.experts


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Who will run, in load order: the first event of every answer."""

    request_id: str
    experts: tuple[PlannedExpert, ...]
    set_digest: Digest | None
    """None when the base answers alone."""
    base: str
    parameters: Mapping[str, str]
    """Each effective sampling parameter as `value (source)`; sources: request, expert NAME, router, base, server."""
    routing: Routing | None = None
    """None when the caller named the experts, or routing is off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """The log-probability of one produced token and of its best alternatives."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """New text and the tokens it came from."""

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] = ()


class FinishReason(StrEnum):
    """Why generation ended; the names are vLLM's."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens counted."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    virtual_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds spent in each stage of one request."""

    route_s: float
    attach_s: float
    queue_s: float
    prefill_s: float
    decode_s: float
    total_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The last event of an answer."""

    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    experts: tuple[PlannedExpert, ...] = ()


Event = Plan | Delta | Done


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedExpert:
    """What the engine holds of one expert loaded by itself (a set of one with weight 1)."""

    name: str
    version: str
    digest: Digest
    pinned: bool
    in_slot: bool
    """Whether a slot holds it now; otherwise it waits in host memory."""
    size_bytes: int
    """Host memory of its weights."""
    verified: bool


class EngineState(StrEnum):
    """The life of the engine, as readiness sees it."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    """It died and the server is starting it again."""
    DRAINING = "draining"
    STOPPED = "stopped"

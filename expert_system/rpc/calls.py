"""What a client sends and how it reads what comes back; the pure half of `client.py`.

    arguments -> pb request        pb response -> Answer, ExpertInfo        failed call -> RequestFailed

Promise: nothing here waits, connects or keeps state, so the synchronous and the asynchronous client share it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from expert_system.domain import (
    Category,
    Delta,
    Digest,
    Done,
    Event,
    ExpertRef,
    Generation,
    Message,
    Plan,
    Role,
    RouteWish,
    Sampling,
    expert_name,
)
from expert_system.errors import ExpertSystemError
from expert_system.rpc.convert import DEFAULT_PRIORITY, generation_to_pb, reference_to_pb
from expert_system.rpc.pb.expert.v1 import (
    expert_pb2,
    expert_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    router_pb2,
    router_pb2_grpc,
    types_pb2,
)
from expert_system.rpc.routing import CATEGORIES_BACK

_DETAILS_KEY = "grpc-status-details-bin"
"""Every error that our server raises has it; one without it comes from the transport."""
_PUSHBACK_KEY = "grpc-retry-pushback-ms"
_PLAIN = (
    "name",
    "version",
    "description",
    "load_order",
    "verified",
    "loaded",
    "in_slot",
    "pinned",
    "size_bytes",
    "loadable",
)
"""Fields of an expert with the same name and type on both sides."""

MessageLike = Message | Mapping[str, str] | tuple[str, str]
"""A message, {"role": …, "content": …} or (role, content)."""


class RequestFailed(ExpertSystemError):
    """The server answered with an error, or could not be reached; the message is the server's."""

    def __init__(self, code: grpc.StatusCode, message: str, retry_after_s: float | None = None) -> None:
        """Keep what a caller acts on: the code, and how long to wait where waiting helps."""
        super().__init__(message)
        self.code = code
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer."""

    plan: Plan
    text: str
    token_ids: tuple[int, ...]
    deltas: tuple[Delta, ...]
    done: Done


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertInfo:
    """One installed expert as the server sees it."""

    name: str
    version: str
    digest: Digest
    description: str
    category: Category
    load_order: int
    verified: bool
    loaded: bool
    in_slot: bool
    pinned: bool
    size_bytes: int
    loadable: bool
    capabilities: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertList:
    """Installed experts, the base, and how many of its slots hold something."""

    experts: tuple[ExpertInfo, ...]
    base: str
    base_digest: Digest
    slots: int
    slots_used: int
    dtype: str
    """Number format that the engine computes in, such as `bfloat16`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """An expert after loading, and what it cost in seconds."""

    expert: ExpertInfo
    load_s: float
    attach_s: float


def stubs(channel: Any) -> tuple[Any, Any, Any]:
    """The generated stubs of the three services; they take a synchronous or an asynchronous channel."""
    return (
        inference_pb2_grpc.InferenceServiceStub(channel),
        expert_pb2_grpc.ExpertServiceStub(channel),
        router_pb2_grpc.RouterServiceStub(channel),
    )


def wished(
    *,
    route: bool | None = None,
    max_experts: int | None = None,
    force: Iterable[str | ExpertRef] = (),
    exclude: Iterable[str] = (),
) -> RouteWish:
    """What a caller wants of the router; names may be short ones."""
    return RouteWish(
        enabled=route,
        max_experts=max_experts,
        force=tuple(_reference(expert) for expert in force),
        exclude=tuple(expert_name(name) for name in exclude),
    )


def route_request(
    prompt: str | None, messages: Sequence[MessageLike], wish: RouteWish, request_id: str, sampling: Mapping[str, Any]
) -> router_pb2.RouteRequest:
    """Write what a caller of `route` gave."""
    asked = request(prompt, messages, (), DEFAULT_PRIORITY, request_id, wish, sampling)
    written = router_pb2.RouteRequest(
        routing=asked.routing, sampling_params=asked.sampling_params, request_id=request_id
    )
    if prompt is not None:
        written.prompt = prompt
    else:
        written.chat.CopyFrom(asked.chat)
    return written


def request(
    prompt: str | None,
    messages: Sequence[MessageLike],
    experts: Iterable[str | ExpertRef],
    priority: int,
    request_id: str,
    wish: RouteWish,
    sampling: Mapping[str, Any],
) -> inference_pb2.GenerateRequest:
    """Write what a caller of `generate` gave."""
    options: dict[str, Any] = {
        name: tuple(value) if name == "stop" and value is not None else value for name, value in sampling.items()
    }
    return generation_to_pb(
        Generation(
            request_id=request_id,
            prompt=prompt,
            messages=tuple(_message(message) for message in messages),
            experts=tuple(_reference(expert) for expert in experts),
            routing=wish,
            sampling=Sampling(**options),
            priority=priority,
        )
    )


def _message(message: MessageLike) -> Message:
    match message:
        case Message():
            return message
        case (role, content):
            return Message(role=Role(role), content=content)
        case _:
            return Message(role=Role(message["role"]), content=message["content"])


def named(expert: str | ExpertRef) -> types_pb2.ExpertRef:
    """An expert as a request names it."""
    return reference_to_pb(_reference(expert))


def _reference(expert: str | ExpertRef) -> ExpertRef:
    return expert if isinstance(expert, ExpertRef) else ExpertRef.parse(expert)


def failed(code: grpc.StatusCode, details: str | None, metadata: Any) -> RequestFailed:
    """The error of a call that ended with a status."""
    known = dict(metadata or ())
    pushback = known.get(_PUSHBACK_KEY)
    retry_after_s = int(pushback) / 1000 if pushback is not None else None
    message = details or f"the server gave no message ({code.name})"
    if code is grpc.StatusCode.UNAVAILABLE and _DETAILS_KEY not in known:
        message = f"no server answers there; start one with `expert-cli serve` or check the address ({message})"
    return RequestFailed(code, message, retry_after_s)


def answer(events: Sequence[Event]) -> Answer:
    """A whole answer from its events.

    Raises:
        RequestFailed: the stream had no plan or no end.
    """
    if not events or not isinstance(events[0], Plan) or not isinstance(events[-1], Done):
        raise RequestFailed(grpc.StatusCode.INTERNAL, "the server's stream had no plan or no end")
    deltas = tuple(event for event in events if isinstance(event, Delta))
    return Answer(
        plan=events[0],
        text="".join(delta.text for delta in deltas),
        token_ids=tuple(token for delta in deltas for token in delta.token_ids),
        deltas=deltas,
        done=events[-1],
    )


def info(expert: expert_pb2.Expert) -> ExpertInfo:
    """Read one expert."""
    plain = {name: getattr(expert, name) for name in _PLAIN}
    return ExpertInfo(
        **plain,
        digest=Digest(expert.digest),
        category=CATEGORIES_BACK[expert.category],
        capabilities=tuple(expert.capabilities),
    )


def loaded(response: expert_pb2.LoadResponse) -> Loaded:
    """Read what loading cost."""
    return Loaded(expert=info(response.expert), load_s=response.load_seconds, attach_s=response.attach_seconds)


def listed(response: expert_pb2.ListResponse) -> ExpertList:
    """Read the list of experts."""
    return ExpertList(
        experts=tuple(info(expert) for expert in response.experts),
        base=response.base,
        base_digest=Digest(response.base_digest),
        slots=response.slots,
        slots_used=response.slots_used,
        dtype=response.dtype,
    )

"""Requests: protobuf <-> domain.

    pb.GenerateRequest <-> Generation        pb.ExpertRef <-> ExpertRef

Promise: nothing is judged here beyond what the domain's types cannot hold; absent stays absent in both directions.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from expert_system.domain import (
    ExpertRef,
    Generation,
    Grammar,
    GrammarType,
    Message,
    Role,
    RouteWish,
    Sampling,
    expert_name,
)
from expert_system.errors import InvalidRequest
from expert_system.rpc.pb.expert.v1 import inference_pb2, types_pb2

DEFAULT_PRIORITY = 5
NO_HEADERS: Mapping[str, str] = MappingProxyType({})

_ROLES = {
    types_pb2.ROLE_SYSTEM: Role.SYSTEM,
    types_pb2.ROLE_USER: Role.USER,
    types_pb2.ROLE_ASSISTANT: Role.ASSISTANT,
}
_PB_ROLES = {role: number for number, role in _ROLES.items()}
_PLAIN = (
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "ignore_eos",
    "logprobs",
)
"""Sampling parameters with the same name and type on both sides."""
_CONSTRAINTS = {"json": GrammarType.JSON_SCHEMA, "regex": GrammarType.REGEX, "grammar": GrammarType.EBNF}


def generation_from_pb(
    request: inference_pb2.GenerateRequest, request_id: str, trace_headers: Mapping[str, str] = NO_HEADERS
) -> Generation:
    """Read a request; the id is the caller's or, where that is empty, the server's choice.

    Raises:
        InvalidRequest: a value that the domain's types cannot hold.
    """
    return Generation(
        request_id=request_id,
        prompt=request.prompt if request.WhichOneof("input") == "prompt" else None,
        messages=tuple(message_from_pb(index, message) for index, message in enumerate(request.chat.messages)),
        experts=tuple(reference_from_pb(reference) for reference in request.experts),
        routing=wish_from_pb(request.routing),
        sampling=sampling_from_pb(request.sampling_params),
        priority=request.priority if request.HasField("priority") else DEFAULT_PRIORITY,
        trace_headers=trace_headers,
    )


def generation_to_pb(generation: Generation) -> inference_pb2.GenerateRequest:
    """Write a request."""
    request = inference_pb2.GenerateRequest(
        experts=[reference_to_pb(reference) for reference in generation.experts],
        routing=wish_to_pb(generation.routing) if generation.routing != RouteWish() else None,
        sampling_params=sampling_to_pb(generation.sampling),
        priority=generation.priority,
        request_id=generation.request_id,
    )
    if generation.prompt is not None:
        request.prompt = generation.prompt
    else:
        request.chat.messages.extend(
            types_pb2.Message(role=_PB_ROLES[message.role], content=message.content) for message in generation.messages
        )
    return request


def reference_from_pb(reference: types_pb2.ExpertRef) -> ExpertRef:
    """Read how a caller names an expert."""
    if not reference.name:
        raise InvalidRequest("experts", "an expert has no name")
    return ExpertRef(
        name=reference.name,
        version=reference.version or None,
        weight=reference.weight if reference.HasField("weight") else None,
    )


def reference_to_pb(reference: ExpertRef) -> types_pb2.ExpertRef:
    """Write how a caller names an expert."""
    return types_pb2.ExpertRef(name=reference.name, version=reference.version or "", weight=reference.weight)


def message_from_pb(index: int, message: types_pb2.Message) -> Message:
    """Read one message of a chat; `index` is its place, for errors."""
    role = _ROLES.get(message.role)
    if role is None:
        raise InvalidRequest(f"chat.messages[{index}].role", "must be system, user or assistant")
    return Message(role=role, content=message.content)


def wish_from_pb(options: types_pb2.RoutingOptions) -> RouteWish:
    """Read what a caller wants of the router."""
    return RouteWish(
        enabled=options.enabled if options.HasField("enabled") else None,
        max_experts=options.max_experts if options.HasField("max_experts") else None,
        force=tuple(reference_from_pb(reference) for reference in options.force),
        exclude=tuple(expert_name(name) for name in options.exclude),
    )


def wish_to_pb(wish: RouteWish) -> types_pb2.RoutingOptions:
    """Write what a caller wants of the router."""
    options = types_pb2.RoutingOptions(
        max_experts=wish.max_experts,
        force=[reference_to_pb(reference) for reference in wish.force],
        exclude=wish.exclude,
    )
    if wish.enabled is not None:
        options.enabled = wish.enabled
    return options


def sampling_from_pb(params: types_pb2.SamplingParams) -> Sampling:
    """Read sampling parameters."""
    plain = {name: getattr(params, name) for name in _PLAIN if params.HasField(name)}
    return Sampling(
        **plain,
        stop=tuple(params.stop) or None,
        grammar=_grammar_from_pb(params.structured_outputs) if params.HasField("structured_outputs") else None,
    )


def sampling_to_pb(sampling: Sampling) -> types_pb2.SamplingParams:
    """Write sampling parameters."""
    params = types_pb2.SamplingParams(stop=sampling.stop or ())
    for name in _PLAIN:
        value = getattr(sampling, name)
        if value is not None:
            setattr(params, name, value)
    if sampling.grammar is not None:
        params.structured_outputs.CopyFrom(_grammar_to_pb(sampling.grammar))
    return params


def _grammar_from_pb(outputs: types_pb2.StructuredOutputs) -> Grammar:
    kind = outputs.WhichOneof("constraint")
    if kind is None:
        raise InvalidRequest("sampling_params.structured_outputs", "names no constraint")
    if kind != "choice":
        return Grammar(type=_CONSTRAINTS[kind], source=getattr(outputs, kind))
    for index, value in enumerate(outputs.choice.values):
        if not value or len(value.splitlines()) != 1:
            raise InvalidRequest(
                f"sampling_params.structured_outputs.choice.values[{index}]", "must be one line and not empty"
            )
    return Grammar(type=GrammarType.CHOICE, source="\n".join(outputs.choice.values))


def _grammar_to_pb(grammar: Grammar) -> types_pb2.StructuredOutputs:
    outputs = types_pb2.StructuredOutputs()
    if grammar.type is GrammarType.CHOICE:
        outputs.choice.values.extend(grammar.source.splitlines())
        return outputs
    field = next(name for name, kind in _CONSTRAINTS.items() if kind is grammar.type)
    setattr(outputs, field, grammar.source)
    return outputs

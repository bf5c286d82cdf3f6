"""Answers: domain -> protobuf in the server, protobuf -> domain in the client.

    Plan | Delta | Done <-> pb.GenerateResponse

Promise: an event that went out and came back is equal to itself.
"""

from __future__ import annotations

from expert_system.domain import (
    Delta,
    Digest,
    Done,
    Event,
    FinishReason,
    Plan,
    PlannedExpert,
    Timings,
    TokenLogprob,
    Usage,
)
from expert_system.rpc.pb.expert.v1 import inference_pb2, types_pb2
from expert_system.rpc.routing import CATEGORIES, CATEGORIES_BACK, routing_from_pb, routing_to_pb

_REASONS = {
    FinishReason.STOP: inference_pb2.FINISH_REASON_STOP,
    FinishReason.LENGTH: inference_pb2.FINISH_REASON_LENGTH,
    FinishReason.ABORT: inference_pb2.FINISH_REASON_ABORT,
}
_REASONS_BACK = {number: reason for reason, number in _REASONS.items()}


def event_to_pb(event: Event) -> inference_pb2.GenerateResponse:
    """Write one event of an answer."""
    match event:
        case Delta():
            return inference_pb2.GenerateResponse(delta=_delta_to_pb(event))
        case Plan():
            return inference_pb2.GenerateResponse(plan=_plan_to_pb(event))
        case Done():
            return inference_pb2.GenerateResponse(done=_done_to_pb(event))


def event_from_pb(response: inference_pb2.GenerateResponse) -> Event | None:
    """Read one event; None for a kind that a newer server knows and we do not."""
    match response.WhichOneof("event"):
        case "delta":
            return _delta_from_pb(response.delta)
        case "plan":
            return _plan_from_pb(response.plan)
        case "done":
            return _done_from_pb(response.done)
        case _:
            return None


def planned_to_pb(expert: PlannedExpert) -> types_pb2.PlannedExpert:
    """Write one expert of a plan."""
    return types_pb2.PlannedExpert(
        name=expert.name,
        version=expert.version,
        digest=expert.digest,
        weight=expert.weight,
        category=CATEGORIES[expert.category],
        load_order=expert.load_order,
        verified=expert.verified,
    )


def planned_from_pb(expert: types_pb2.PlannedExpert) -> PlannedExpert:
    """Read one expert of a plan."""
    return PlannedExpert(
        name=expert.name,
        version=expert.version,
        digest=Digest(expert.digest),
        weight=expert.weight,
        category=CATEGORIES_BACK[expert.category],
        load_order=expert.load_order,
        verified=expert.verified,
    )


def _plan_to_pb(plan: Plan) -> inference_pb2.Plan:
    return inference_pb2.Plan(
        request_id=plan.request_id,
        experts=[planned_to_pb(expert) for expert in plan.experts],
        set_digest=plan.set_digest or "",
        base=plan.base,
        parameters=dict(plan.parameters),
        routing=routing_to_pb(plan.routing) if plan.routing is not None else None,
    )


def _plan_from_pb(plan: inference_pb2.Plan) -> Plan:
    return Plan(
        request_id=plan.request_id,
        experts=tuple(planned_from_pb(expert) for expert in plan.experts),
        set_digest=Digest(plan.set_digest) if plan.set_digest else None,
        base=plan.base,
        parameters=dict(plan.parameters),
        routing=routing_from_pb(plan.routing) if plan.HasField("routing") else None,
    )


def _delta_to_pb(delta: Delta) -> inference_pb2.Delta:
    return inference_pb2.Delta(
        text=delta.text,
        token_ids=delta.token_ids,
        logprobs=[
            inference_pb2.TokenLogprob(
                token_id=found.token_id,
                logprob=found.logprob,
                top=[inference_pb2.Alternative(token_id=token, logprob=value) for token, value in found.top],
            )
            for found in delta.logprobs
        ],
    )


def _delta_from_pb(delta: inference_pb2.Delta) -> Delta:
    return Delta(
        text=delta.text,
        token_ids=tuple(delta.token_ids),
        logprobs=tuple(
            TokenLogprob(
                token_id=found.token_id,
                logprob=found.logprob,
                top=tuple((other.token_id, other.logprob) for other in found.top),
            )
            for found in delta.logprobs
        ),
    )


def _done_to_pb(done: Done) -> inference_pb2.Done:
    usage, timings = done.usage, done.timings
    return inference_pb2.Done(
        finish_reason=_REASONS[done.finish_reason],
        usage=inference_pb2.Usage(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cached_tokens=usage.cached_tokens,
            virtual_tokens=usage.virtual_tokens,
        ),
        timings=inference_pb2.Timings(
            route_seconds=timings.route_s,
            attach_seconds=timings.attach_s,
            queue_seconds=timings.queue_s,
            prefill_seconds=timings.prefill_s,
            decode_seconds=timings.decode_s,
            total_seconds=timings.total_s,
        ),
        experts=[planned_to_pb(expert) for expert in done.experts],
    )


def _done_from_pb(done: inference_pb2.Done) -> Done:
    usage, timings = done.usage, done.timings
    return Done(
        finish_reason=_REASONS_BACK.get(done.finish_reason, FinishReason.ABORT),
        usage=Usage(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cached_tokens=usage.cached_tokens,
            virtual_tokens=usage.virtual_tokens,
        ),
        timings=Timings(
            route_s=timings.route_seconds,
            attach_s=timings.attach_seconds,
            queue_s=timings.queue_seconds,
            prefill_s=timings.prefill_seconds,
            decode_s=timings.decode_seconds,
            total_s=timings.total_seconds,
        ),
        experts=tuple(planned_from_pb(expert) for expert in done.experts),
    )

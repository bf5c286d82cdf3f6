"""The three services: convert, call, convert.

    pb request -> domain -> Serving, ExpertDesk -> domain -> pb response

Promise: a call that ends for any reason (answered, cancelled, deadline, lost connection) closes its generator, and
with it the request leaves the engine.
"""

from __future__ import annotations

import uuid
from contextlib import aclosing
from typing import Any

import grpc

from expert_system.domain import ExpertRef
from expert_system.errors import InvalidRequest
from expert_system.residents import ExpertDesk, Resident
from expert_system.rpc.convert import (
    generation_from_pb,
    message_from_pb,
    reference_from_pb,
    sampling_from_pb,
    wish_from_pb,
)
from expert_system.rpc.events import event_to_pb
from expert_system.rpc.pb.expert.v1 import (
    expert_pb2,
    expert_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    router_pb2,
    router_pb2_grpc,
)
from expert_system.rpc.routing import CATEGORIES, routing_to_pb
from expert_system.rpc.status import errors_as_status
from expert_system.serving import Serving, routed_text

Context = grpc.aio.ServicerContext[Any, Any]
_TRACE_KEYS = ("traceparent", "tracestate", "baggage")


class InferenceServicer(inference_pb2_grpc.InferenceServiceServicer):
    """Text from the base model with experts composed on it."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def Generate(self, request: inference_pb2.GenerateRequest, context: Context) -> None:  # noqa: N802 - gRPC's
        """Stream one answer; each message waits until the client has room for it."""
        request_id = request.request_id or uuid.uuid4().hex
        async with errors_as_status(context, request_id):
            generation = generation_from_pb(request, request_id, _trace_headers(context))
            async with aclosing(self._serving.generate(generation)) as events:
                async for event in events:
                    await context.write(event_to_pb(event))


class RouterServicer(router_pb2_grpc.RouterServiceServicer):
    """Which experts a prompt needs."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def Route(self, request: router_pb2.RouteRequest, context: Context) -> router_pb2.RouteResponse:  # noqa: N802
        """Decide on one prompt without running it."""
        request_id = request.request_id or uuid.uuid4().hex
        async with errors_as_status(context, request_id):
            messages = tuple(message_from_pb(index, message) for index, message in enumerate(request.chat.messages))
            routing = await self._serving.plan(
                routed_text(request.prompt if request.WhichOneof("input") == "prompt" else None, messages),
                wish_from_pb(request.routing),
                sampling_from_pb(request.sampling_params),
                request_id=request_id,
            )
            return router_pb2.RouteResponse(request_id=request_id, routing=routing_to_pb(routing))


class ExpertServicer(expert_pb2_grpc.ExpertServiceServicer):
    """What the running engine holds, by name."""

    def __init__(self, desk: ExpertDesk) -> None:
        self._desk = desk

    async def List(self, request: expert_pb2.ListRequest, context: Context) -> expert_pb2.ListResponse:  # noqa: N802
        """Installed experts and which of them are loaded."""
        async with errors_as_status(context):
            found = await self._desk.list(loaded_only=request.loaded_only)
            return expert_pb2.ListResponse(
                experts=[_expert_to_pb(resident) for resident in found.experts],
                base=found.base.name,
                base_digest=found.base.digest,
                slots=found.base.slots,
                slots_used=found.slots_used,
                dtype=found.base.dtype,
            )

    async def Get(self, request: expert_pb2.GetRequest, context: Context) -> expert_pb2.GetResponse:  # noqa: N802
        """One installed expert."""
        async with errors_as_status(context):
            return expert_pb2.GetResponse(expert=_expert_to_pb(await self._desk.get(_named(request))))

    async def Load(self, request: expert_pb2.LoadRequest, context: Context) -> expert_pb2.LoadResponse:  # noqa: N802
        """Bring one into memory and, when one is idle, a slot."""
        async with errors_as_status(context):
            resident, cost = await self._desk.load(_named(request))
            return expert_pb2.LoadResponse(
                expert=_expert_to_pb(resident), load_seconds=cost.load_s, attach_seconds=cost.attach_s
            )

    async def Unload(self, request: expert_pb2.UnloadRequest, context: Context) -> expert_pb2.UnloadResponse:  # noqa: N802
        """Free one's slot and memory."""
        async with errors_as_status(context):
            return expert_pb2.UnloadResponse(expert=_expert_to_pb(await self._desk.unload(_named(request))))

    async def Pin(self, request: expert_pb2.PinRequest, context: Context) -> expert_pb2.PinResponse:  # noqa: N802
        """Keep one in memory, or let go of it again."""
        async with errors_as_status(context):
            resident = await self._desk.pin(_named(request), pinned=not request.unpin)
            return expert_pb2.PinResponse(expert=_expert_to_pb(resident))


def _named(
    request: expert_pb2.GetRequest | expert_pb2.LoadRequest | expert_pb2.UnloadRequest | expert_pb2.PinRequest,
) -> ExpertRef:
    if not request.HasField("expert"):
        raise InvalidRequest("expert", "is missing")
    return reference_from_pb(request.expert)


def _expert_to_pb(resident: Resident) -> expert_pb2.Expert:
    manifest, held = resident.expert.manifest, resident.residency
    return expert_pb2.Expert(
        name=manifest.name,
        version=manifest.version,
        digest=resident.expert.digest,
        description=manifest.description,
        category=CATEGORIES[manifest.composition.category],
        load_order=manifest.composition.load_order,
        verified=resident.expert.verified,
        loaded=held is not None,
        in_slot=held is not None and held.in_slot,
        pinned=held is not None and held.pinned,
        size_bytes=held.size_bytes if held is not None else 0,
        loadable=resident.loadable,
        capabilities=manifest.capabilities,
    )


def _trace_headers(context: Context) -> dict[str, str]:
    """The W3C trace context of the call, for the engine's own spans."""
    metadata = context.invocation_metadata() or ()
    return {key: value for key, value in metadata if key in _TRACE_KEYS and isinstance(value, str)}

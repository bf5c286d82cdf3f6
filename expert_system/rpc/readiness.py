"""Health and reflection: what other programs ask before they send work.

    engine.state -> every POLL_S -> grpc.health.v1 ("" and one name a service; "live" is always SERVING)

Promise: a service reports SERVING only while a request sent to it could be answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from expert_system.domain import EngineState
from expert_system.rpc.pb.expert.v1 import expert_pb2, inference_pb2, router_pb2
from expert_system.telemetry import ENGINE_READY

POLL_S = 0.1
SERVICES = (
    inference_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name,
    expert_pb2.DESCRIPTOR.services_by_name["ExpertService"].full_name,
    router_pb2.DESCRIPTOR.services_by_name["RouterService"].full_name,
)
LIVE = "live"
"""Health name that says only that the process answers; for liveness probes, which must not see a warm-up."""
REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Readiness:
    """Keeps the health service in step with the engine."""

    def __init__(self, state: Callable[[], EngineState]) -> None:
        """Watch this state."""
        self._state = state
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined] # missing in the stubs
        self._task: asyncio.Task[None] | None = None

    async def start(self, server: grpc.aio.Server) -> None:
        """Answer NOT_SERVING from the first moment, then follow the engine."""
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        await self._health.set(LIVE, _SERVING)
        await self._report(EngineState.STARTING)
        self._task = asyncio.create_task(self._follow(), name="readiness")

    async def stop(self) -> None:
        """NOT_SERVING for good, so that balancers send their work elsewhere."""
        if self._task is not None:
            self._task.cancel()
        await self._health.enter_graceful_shutdown()

    async def _follow(self) -> None:
        told = EngineState.STARTING
        while True:
            state = self._state()
            if state is not told:
                await self._report(state)
                told = state
            await asyncio.sleep(POLL_S)

    async def _report(self, state: EngineState) -> None:
        ready = state is EngineState.READY
        ENGINE_READY.set(ready)
        for name in ("", *SERVICES):
            await self._health.set(name, _SERVING if ready else _NOT_SERVING)


def add_reflection(server: grpc.aio.Server) -> None:
    """Answer reflection under v1alpha and v1, which have the same messages under two names."""
    names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME, REFLECTION_V1)
    servicer = reflection.aio.ReflectionServicer(service_names=names)  # type: ignore[attr-defined] # missing in the stubs
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for service in (reflection.SERVICE_NAME, REFLECTION_V1):
        methods = {"ServerReflectionInfo": handler}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))

"""The gRPC server: one port, three services, health, reflection.

    start (answers NOT_SERVING) -> the engine warms -> SERVING -> drain -> stop

Promise: it never drops a call of a burst by itself; refusing is admission's work and comes with a reason.
"""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from expert_system.errors import ConfigError
from expert_system.residents import ExpertDesk
from expert_system.rpc.metrics import MetricsInterceptor
from expert_system.rpc.pb.expert.v1 import expert_pb2_grpc, inference_pb2_grpc, router_pb2_grpc
from expert_system.rpc.readiness import Readiness, add_reflection
from expert_system.rpc.servicers import ExpertServicer, InferenceServicer, RouterServicer
from expert_system.serving import Serving

MAX_REQUEST_BYTES = 32 * 1024 * 1024
"""A message up to this size is read, so that a prompt over its limit is told so by name and not by the transport."""
MAX_PENDING_REQUESTS = 1_000_000
"""gRPC's own queue, out of the way: its default drops calls under a burst without a reason."""
KEEPALIVE_S = 30
"""A client that vanished without closing its connection is noticed after two of these."""
LAST_WORDS_S = 1.0
"""How long aborted calls may take to get their status."""

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.server.max_pending_requests", MAX_PENDING_REQUESTS),
    ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_REQUESTS),
    ("grpc.keepalive_time_ms", KEEPALIVE_S * 1000),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_S * 1000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.so_reuseport", 0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the server listens; port 0 takes a free one."""

    host: str
    port: int


class RpcServer:
    """Owns the port."""

    def __init__(self, serving: Serving, desk: ExpertDesk, readiness: Readiness, address: Address) -> None:
        """Join the parts; nothing listens yet."""
        self._serving = serving
        self._desk = desk
        self._readiness = readiness
        self._address = address
        self._server: grpc.aio.Server | None = None

    async def start(self) -> int:
        """Listen and return the port.

        Raises:
            ConfigError: the address cannot be used.
        """
        server = grpc.aio.server(options=_OPTIONS, interceptors=(MetricsInterceptor(),))
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(InferenceServicer(self._serving), server)
        router_pb2_grpc.add_RouterServiceServicer_to_server(RouterServicer(self._serving), server)
        expert_pb2_grpc.add_ExpertServiceServicer_to_server(ExpertServicer(self._desk), server)
        await self._readiness.start(server)
        add_reflection(server)
        host = f"[{self._address.host}]" if ":" in self._address.host else self._address.host
        target = f"{host}:{self._address.port}"
        try:
            port = server.add_insecure_port(target)
        except RuntimeError:
            await self._readiness.stop()
            raise ConfigError(f"cannot listen on {target}; another server may use it (choose server.port)") from None
        await server.start()
        self._server = server
        return port

    async def stop(self, grace_s: float) -> bool:
        """Drain: report NOT_SERVING, admit no more, let requests finish, abort the rest; True when none was aborted."""
        await self._readiness.stop()
        finished = await self._serving.admission.close(grace_s)
        if self._server is not None:
            await self._server.stop(LAST_WORDS_S if finished else 0)
        return finished

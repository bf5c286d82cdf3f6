"""Counts and times of our RPCs under go-grpc-prometheus' names, and the /metrics page.

    call -> interceptor -> grpc_server_* metrics -> HTTP GET /metrics, beside expert_* and vllm:*

Promise: labels are method and code only, so their number is bounded; health and reflection are not counted.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from prometheus_client import Counter, Histogram, start_http_server

STARTED = Counter("grpc_server_started", "RPCs started on the server.", ["grpc_service", "grpc_method"])
HANDLED = Counter(
    "grpc_server_handled", "RPCs completed on the server, by status.", ["grpc_service", "grpc_method", "grpc_code"]
)
SECONDS = Histogram("grpc_server_handling_seconds", "Time of an RPC on the server.", ["grpc_service", "grpc_method"])

Handler = Callable[[Any, Any], Awaitable[Any]]


class MetricsInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg] # generic in the stubs only
    """Measures the unary and server-streaming calls of our own services."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        _, service, method = handler_call_details.method.split("/", 2)
        if handler is None or not service.startswith("expert."):
            return handler
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                _measured(handler.unary_stream, service, method),
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            _measured(handler.unary_unary, service, method),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


def _measured(call: Handler, service: str, method: str) -> Any:
    async def measured(request: Any, context: Any) -> Any:
        STARTED.labels(service, method).inc()
        started, code = time.perf_counter(), "OK"
        try:
            return await call(request, context)
        except grpc.aio.AbortError:
            code = _name(context.code())
            raise
        except BaseException:
            code = "CANCELLED"
            raise
        finally:
            HANDLED.labels(service, method, code).inc()
            SECONDS.labels(service, method).observe(time.perf_counter() - started)

    return measured


def _name(code: Any) -> str:
    """A code as go-grpc-prometheus writes it; the aio context holds it as a number."""
    found = next((c for c in grpc.StatusCode if code in (c, c.value[0])), grpc.StatusCode.UNKNOWN)
    return found.name


class MetricsPage:
    """The HTTP page with every metric of this process, vLLM's included."""

    def __init__(self, host: str, port: int) -> None:
        """Open it; port 0 takes a free one."""
        self._server, self._thread = start_http_server(port, addr=host)
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

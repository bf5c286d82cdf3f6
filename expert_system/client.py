"""The Python client that other services import; needs grpcio and protobuf, nothing of the server's.

    Client("localhost:50051").generate(prompt="…", experts=["json-parser=0.5"], temperature=0) -> Plan, Delta, …, Done

Promise: leaving a stream early cancels the request on the server, and every failure is a `RequestFailed` with the
server's own message.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from expert_system.domain import Event, ExpertRef, Routing
from expert_system.rpc.calls import (
    Answer,
    ExpertInfo,
    ExpertList,
    Loaded,
    MessageLike,
    RequestFailed,
    answer,
    failed,
    info,
    listed,
    loaded,
    named,
    request,
    route_request,
    stubs,
    wished,
)
from expert_system.rpc.convert import DEFAULT_PRIORITY
from expert_system.rpc.events import event_from_pb
from expert_system.rpc.pb.expert.v1 import expert_pb2
from expert_system.rpc.routing import routing_from_pb

__all__ = ["Answer", "AsyncClient", "Client", "ExpertInfo", "ExpertList", "Loaded", "RequestFailed"]

DEFAULT_TARGET = "127.0.0.1:50051"
_HEALTH = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"
"""A HealthCheckResponse that says SERVING; written out, so that the client needs no health package."""


class AsyncClient:
    """Talks to one server; use it as an async context manager."""

    def __init__(self, target: str = DEFAULT_TARGET) -> None:
        """Connect lazily to `host:port`."""
        self._channel = grpc.aio.insecure_channel(target)
        self._inference, self._experts, self._router = stubs(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Cancel what runs and hang up."""
        await self._channel.close(None)

    async def ready(self, timeout_s: float = 1.0) -> bool:
        """Whether a server answers there and takes requests."""
        check = self._channel.unary_unary(_HEALTH, None, None)
        try:
            return bool(await check(b"", timeout=timeout_s) == _SERVING)
        except grpc.aio.AioRpcError:
            return False

    async def generate(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[MessageLike] = (),
        experts: Iterable[str | ExpertRef] = (),
        priority: int = DEFAULT_PRIORITY,
        request_id: str = "",
        timeout_s: float | None = None,
        route: bool | None = None,
        max_experts: int | None = None,
        force: Iterable[str | ExpertRef] = (),
        exclude: Iterable[str] = (),
        **sampling: Any,
    ) -> AsyncGenerator[Event, None]:
        """Stream one answer: the plan, text as it is produced, the summary.

        Args:
            prompt: sent to the base untouched; give this or `messages`.
            messages: rendered with the base's chat template.
            experts: at most ten, each `NAME[@VERSION][=WEIGHT]`; none lets the router choose where routing is on.
            priority: 0 is most urgent, 9 least.
            request_id: shows up in the server's log; empty lets the server choose.
            timeout_s: the deadline of the whole answer, in seconds.
            route: False is the base alone when no expert is named, True insists on the router; None is the server's setting.
            max_experts: most experts that the router may choose.
            force: experts that the router must choose, as in `experts`.
            exclude: names that it must not choose.
            **sampling: fields of `domain.Sampling`, such as temperature or max_tokens.

        Raises:
            RequestFailed: with the server's message.
        """
        wish = wished(route=route, max_experts=max_experts, force=force, exclude=exclude)
        call = self._inference.Generate(
            request(prompt, messages, experts, priority, request_id, wish, sampling), timeout=timeout_s
        )
        try:
            async for response in call:
                event = event_from_pb(response)
                if event is not None:
                    yield event
        except grpc.aio.AioRpcError as error:
            raise failed(error.code(), error.details(), error.trailing_metadata()) from None
        finally:
            call.cancel()

    async def complete(self, prompt: str | None = None, **options: Any) -> Answer:
        """The whole answer at once; takes what `generate` takes."""
        return answer([event async for event in self.generate(prompt, **options)])

    async def route(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[MessageLike] = (),
        request_id: str = "",
        max_experts: int | None = None,
        force: Iterable[str | ExpertRef] = (),
        exclude: Iterable[str] = (),
        **sampling: Any,
    ) -> Routing:
        """Which experts a prompt needs, without running it; takes what `generate` takes."""
        wish = wished(max_experts=max_experts, force=force, exclude=exclude)
        message = route_request(prompt, messages, wish, request_id, sampling)
        return routing_from_pb((await self._call(self._router.Route, message)).routing)

    async def experts(self, *, loaded_only: bool = False) -> ExpertList:
        """Installed experts, or only those that the engine holds."""
        return listed(await self._call(self._experts.List, expert_pb2.ListRequest(loaded_only=loaded_only)))

    async def load(self, expert: str | ExpertRef) -> Loaded:
        """Bring an expert into memory."""
        return loaded(await self._call(self._experts.Load, expert_pb2.LoadRequest(expert=named(expert))))

    async def unload(self, expert: str | ExpertRef) -> ExpertInfo:
        """Free an expert's slot and memory."""
        response = await self._call(self._experts.Unload, expert_pb2.UnloadRequest(expert=named(expert)))
        return info(response.expert)

    async def pin(self, expert: str | ExpertRef, *, pinned: bool = True) -> ExpertInfo:
        """Keep an expert in memory, or let go of it again."""
        response = await self._call(self._experts.Pin, expert_pb2.PinRequest(expert=named(expert), unpin=not pinned))
        return info(response.expert)

    async def _call(self, method: Any, message: Any) -> Any:
        try:
            return await method(message)
        except grpc.aio.AioRpcError as error:
            raise failed(error.code(), error.details(), error.trailing_metadata()) from None


class Client:
    """The same for programs without an event loop; use it as a context manager."""

    def __init__(self, target: str = DEFAULT_TARGET) -> None:
        """Connect lazily to `host:port`."""
        self._channel = grpc.insecure_channel(target)
        self._inference, self._experts, self._router = stubs(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what runs and hang up."""
        self._channel.close()

    def ready(self, timeout_s: float = 1.0) -> bool:
        """Whether a server answers there and takes requests."""
        try:
            return bool(self._channel.unary_unary(_HEALTH, None, None)(b"", timeout=timeout_s) == _SERVING)
        except grpc.RpcError:
            return False

    def generate(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[MessageLike] = (),
        experts: Iterable[str | ExpertRef] = (),
        priority: int = DEFAULT_PRIORITY,
        request_id: str = "",
        timeout_s: float | None = None,
        route: bool | None = None,
        max_experts: int | None = None,
        force: Iterable[str | ExpertRef] = (),
        exclude: Iterable[str] = (),
        **sampling: Any,
    ) -> Generator[Event, None, None]:
        """Stream one answer; see `AsyncClient.generate`."""
        wish = wished(route=route, max_experts=max_experts, force=force, exclude=exclude)
        call = self._inference.Generate(
            request(prompt, messages, experts, priority, request_id, wish, sampling), timeout=timeout_s
        )
        try:
            for response in call:
                event = event_from_pb(response)
                if event is not None:
                    yield event
        except grpc.RpcError as error:
            raise failed(error.code(), error.details(), error.trailing_metadata()) from None
        finally:
            call.cancel()

    def complete(self, prompt: str | None = None, **options: Any) -> Answer:
        """The whole answer at once; takes what `generate` takes."""
        return answer(list(self.generate(prompt, **options)))

    def route(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[MessageLike] = (),
        request_id: str = "",
        max_experts: int | None = None,
        force: Iterable[str | ExpertRef] = (),
        exclude: Iterable[str] = (),
        **sampling: Any,
    ) -> Routing:
        """Which experts a prompt needs; see `AsyncClient.route`."""
        wish = wished(max_experts=max_experts, force=force, exclude=exclude)
        message = route_request(prompt, messages, wish, request_id, sampling)
        return routing_from_pb(self._call(self._router.Route, message).routing)

    def experts(self, *, loaded_only: bool = False) -> ExpertList:
        """Installed experts, or only those that the engine holds."""
        return listed(self._call(self._experts.List, expert_pb2.ListRequest(loaded_only=loaded_only)))

    def load(self, expert: str | ExpertRef) -> Loaded:
        """Bring an expert into memory."""
        return loaded(self._call(self._experts.Load, expert_pb2.LoadRequest(expert=named(expert))))

    def unload(self, expert: str | ExpertRef) -> ExpertInfo:
        """Free an expert's slot and memory."""
        return info(self._call(self._experts.Unload, expert_pb2.UnloadRequest(expert=named(expert))).expert)

    def pin(self, expert: str | ExpertRef, *, pinned: bool = True) -> ExpertInfo:
        """Keep an expert in memory, or let go of it again."""
        return info(self._call(self._experts.Pin, expert_pb2.PinRequest(expert=named(expert), unpin=not pinned)).expert)

    def _call(self, method: Any, message: Any) -> Any:
        try:
            return method(message)
        except grpc.RpcError as error:
            raise failed(error.code(), error.details(), error.trailing_metadata()) from None

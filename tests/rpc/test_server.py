"""The server around the services: cancellation, deadlines, health, reflection, drain, metrics."""

from __future__ import annotations

import asyncio
import io
import json
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from expert_system import telemetry
from expert_system.app import App, running
from expert_system.client import AsyncClient, RequestFailed
from expert_system.config import Config
from expert_system.domain import Done, EngineState
from expert_system.errors import ConfigError
from expert_system.rpc.readiness import LIVE, SERVICES
from expert_system.testing.engine import FakeEngine

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


Release = Callable[[], Awaitable[None]]


async def until(condition: Callable[[], bool], within_s: float = 1.0) -> None:
    """Wait for something that must happen soon."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what is waited for lies in another task, or in gRPC
            await asyncio.sleep(0.01)


async def health(target: str, service: str = "") -> int:
    async with grpc.aio.insecure_channel(target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        found = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=2)
        return int(found.status)


async def test_a_client_that_leaves_takes_its_request_out_of_the_engine(start: Any, engine: FakeEngine) -> None:
    """Within one second of the client's cancellation, whatever the engine is doing."""
    engine._token_s = 0.02
    async with start() as server, AsyncClient(server.target) as client:
        stream = client.generate("x", max_tokens=2000)
        await anext(stream)
        await anext(stream)
        assert 1 == len(engine.running)

        await stream.aclose()

        await until(lambda: not engine.running)


async def test_a_client_that_hangs_up_takes_all_its_requests_along(start: Any, engine: FakeEngine) -> None:
    """A lost connection is a cancellation of everything on it."""
    engine._token_s = 0.02
    async with start() as server:
        client = AsyncClient(server.target)
        streams = [client.generate("x", max_tokens=2000) for _ in range(8)]
        for stream in streams:
            await anext(stream)
            await anext(stream)
        assert 8 == len(engine.running)

        await client.close()

        await until(lambda: not engine.running)
        for stream in streams:
            await stream.aclose()


async def test_a_client_that_does_not_read_slows_only_itself(start: Any, engine: FakeEngine) -> None:
    """Backpressure: writing waits for the client, and others go on."""
    engine._answer = " ".join(["x" * 1000] * 4000)
    async with start() as server, AsyncClient(server.target) as client, AsyncClient(server.target) as other:
        stuck = client.generate("x", max_tokens=4000)
        await anext(stuck)

        answer = await other.complete("y", max_tokens=5)

        assert 5 == answer.done.usage.completion_tokens
        assert 1 == len(engine.running)
        await stuck.aclose()


async def test_a_deadline_ends_the_request_everywhere(start: Any, engine: FakeEngine) -> None:
    """DEADLINE_EXCEEDED for the client, and the engine is free again."""
    engine._token_s = 0.05
    async with start() as server, AsyncClient(server.target) as client:
        with pytest.raises(RequestFailed) as failed:
            await client.complete("x", max_tokens=2000, timeout_s=0.3)

        assert grpc.StatusCode.DEADLINE_EXCEEDED is failed.value.code
        await until(lambda: not engine.running)


@asynccontextmanager
async def held_back(home: Any, engine: FakeEngine, patch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, Release]]:
    """A server whose engine stays in its start until it is released, and which is stopped whatever happens.

    A server that is left over would hang the interpreter when it is collected, in some later test.
    """
    ready, start = asyncio.Event(), engine.start

    async def wait_and_start() -> None:
        engine._state = EngineState.STARTING
        await ready.wait()
        await start()

    patch.setattr(engine, "start", wait_and_start)
    app = App(Config.model_validate({"home": home, "server": {"port": 0}}), lambda _: engine)
    starting = asyncio.create_task(app.start())

    async def release() -> None:
        ready.set()
        await starting

    try:
        await until(lambda: app.port is not None)
        yield f"127.0.0.1:{app.port}", release
    finally:
        await release()
        await app.stop()


async def test_health_follows_the_engine(home: Any, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """NOT_SERVING while it warms or restarts, SERVING while it takes requests; "live" is always SERVING."""
    names = ("", *SERVICES)
    async with held_back(home, engine, monkeypatch) as (target, release):

        async def becomes(wanted: int) -> None:
            async with asyncio.timeout(5), grpc.aio.insecure_channel(target) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                for name in names:
                    async for found in stub.Watch(health_pb2.HealthCheckRequest(service=name)):
                        if found.status == wanted:
                            break
            assert {wanted} == {await health(target, name) for name in names}

        assert {NOT_SERVING} == {await health(target, name) for name in names}
        assert SERVING == await health(target, LIVE)
        await release()
        await becomes(SERVING)
        engine.die()
        await becomes(NOT_SERVING)
        engine.revive()
        await becomes(SERVING)


async def test_a_request_before_the_engine_is_ready_is_unavailable(
    home: Any, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not queued, not dropped: UNAVAILABLE with a hint when to come back."""
    async with held_back(home, engine, monkeypatch) as (target, _), AsyncClient(target) as client:
        with pytest.raises(RequestFailed, match="the engine is starting") as failed:
            await client.complete("x")
        with pytest.raises(RequestFailed, match="the engine is starting"):
            await client.experts()

    assert (grpc.StatusCode.UNAVAILABLE, True) == (failed.value.code, failed.value.retry_after_s is not None)


@pytest.mark.parametrize("version", ["v1alpha", "v1"])
async def test_reflection_answers_under_both_names(version: str, start: Any) -> None:
    """Tools of today ask v1, those of yesterday v1alpha; both list our services and give their files."""
    ask = reflection_pb2.ServerReflectionRequest
    questions = [ask(list_services=""), ask(file_containing_symbol="expert.v1.InferenceService")]
    async with start() as server, grpc.aio.insecure_channel(server.target) as channel:
        call = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=ask.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        listed, file = [answer async for answer in call(iter(questions), timeout=5)]

    assert set(SERVICES) < {service.name for service in listed.list_services_response.service}
    assert file.file_descriptor_response.file_descriptor_proto


async def test_drain_finishes_what_runs_and_refuses_what_comes(home: Any, engine: FakeEngine) -> None:
    """SIGTERM: health says NOT_SERVING, running answers come to their end, new ones are UNAVAILABLE."""
    engine._token_s = 0.05
    app = App(Config.model_validate({"home": home, "server": {"port": 0, "grace_s": 10}}), lambda _: engine)
    async with running(app) as server, AsyncClient(server.target) as client:
        stream = client.generate("x", max_tokens=10)
        await anext(stream)
        stopping = asyncio.create_task(app.stop())
        await asyncio.sleep(0.05)

        assert NOT_SERVING == await health(server.target)
        with pytest.raises(RequestFailed, match="draining"):
            await client.complete("y")
        rest = [event async for event in stream]
        await stopping

    assert Done is type(rest[-1])


async def test_drain_aborts_what_outlives_the_grace(home: Any, engine: FakeEngine) -> None:
    """A server stops in bounded time; the client of an aborted answer gets an error, never silence."""
    engine._token_s = 0.05
    app = App(Config.model_validate({"home": home, "server": {"port": 0, "grace_s": 0.2}}), lambda _: engine)
    async with running(app) as server, AsyncClient(server.target) as client:
        stream = client.generate("x", max_tokens=4000)
        await anext(stream)
        started = time.monotonic()
        stopping = asyncio.create_task(app.stop())
        with pytest.raises(RequestFailed):
            async for _ in stream:
                pass
        await stopping

    assert time.monotonic() - started < 3
    assert set() == engine.running


async def test_a_watcher_of_health_does_not_hold_up_the_drain(home: Any, engine: FakeEngine) -> None:
    """An endless Watch is not a running request."""
    app = App(Config.model_validate({"home": home, "server": {"port": 0, "grace_s": 30}}), lambda _: engine)
    async with running(app) as server, grpc.aio.insecure_channel(server.target) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert await watch.read() is not None
        started = time.monotonic()

        await app.stop()

        assert time.monotonic() - started < 3
        watch.cancel()


async def test_a_burst_is_admitted_or_refused_never_dropped(start: Any, engine: FakeEngine) -> None:
    """Of 300 calls at once with room for 50, each is answered or gets RESOURCE_EXHAUSTED (libraries.md 2)."""
    engine._token_s = 0.05

    async def code(client: AsyncClient) -> str:
        try:
            await client.complete("x", max_tokens=20)
        except RequestFailed as failed:
            return failed.code.name if failed.retry_after_s is not None else "no hint"
        return "OK"

    async with start(max_requests=50) as server, AsyncClient(server.target) as client:
        codes = await asyncio.gather(*(code(client) for _ in range(300)))

    assert {"OK", "RESOURCE_EXHAUSTED"} == set(codes)
    assert 50 <= codes.count("OK")


async def test_metrics_are_served_and_their_labels_bounded(start: Any) -> None:
    """grpc_server_* under the usual names, expert_* for ours; no request id or prompt among the labels."""
    async with start(metrics_port=0) as server, AsyncClient(server.target) as client:
        await client.complete("a prompt of mine", experts=["sql"], max_tokens=3, request_id="r-77")
        with pytest.raises(RequestFailed):
            await client.complete("")
        await asyncio.sleep(0.1)
        url = f"http://127.0.0.1:{server.metrics_port}/metrics"
        page = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=5).read().decode())

    assert 'grpc_server_handled_total{grpc_code="OK",grpc_method="Generate"' in page
    assert 'grpc_server_handled_total{grpc_code="INVALID_ARGUMENT",grpc_method="Generate"' in page
    assert 'expert_requests_total{outcome="ok"}' in page
    assert 'expert_expert_requests_total{expert="expert-sql"}' in page
    assert 'expert_stage_seconds_bucket{le="0.1",stage="route"}' in page
    assert "r-77" not in page
    assert "prompt of mine" not in page


async def test_a_port_in_use_is_said_plainly(start: Any, home: Any) -> None:
    """The second server on one port says what to change."""
    async with start() as server:
        port = int(server.target.rpartition(":")[2])
        app = App(Config.model_validate({"home": home, "server": {"port": port}}), lambda _: FakeEngine())
        with pytest.raises(ConfigError, match=r"cannot listen on 127\.0\.0\.1:\d+; .*server\.port"):
            async with running(app):
                pass


async def test_one_line_is_logged_for_each_request_however_it_ends(start: Any, engine: FakeEngine) -> None:
    """Answered, refused, cancelled: one canonical line each, with the request's id and without its text."""
    log = io.StringIO()
    telemetry.log_to(log)
    engine._token_s = 0.02
    async with start() as server, AsyncClient(server.target) as client:
        await client.complete("my words", experts=["sql"], max_tokens=2, request_id="one")
        with pytest.raises(RequestFailed):
            await client.complete("my words", temperature=9, request_id="two")
        stream = client.generate("my words", max_tokens=2000, request_id="three")
        await anext(stream)
        await stream.aclose()
        await until(lambda: "three" in log.getvalue())

    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    requests = {line["request_id"]: line for line in lines if line["event"] == "request"}
    assert {"one": "ok", "two": "InvalidRequest", "three": "cancelled"} == {
        key: line["outcome"] for key, line in requests.items()
    }
    assert ["expert-sql@1.0.0=1"] == requests["one"]["experts"]
    assert 2 == requests["one"]["completion_tokens"]
    assert "my words" not in log.getvalue()

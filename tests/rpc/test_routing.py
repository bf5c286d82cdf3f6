"""Routing over the wire: RouterService, and Generate that routes by itself."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from expert_system import telemetry
from expert_system.app import App, Running, running
from expert_system.client import AsyncClient, RequestFailed
from expert_system.config import Config
from expert_system.domain import Routing
from expert_system.marketplace.store import Store
from expert_system.package.base import describe_base
from expert_system.routing.keeper import POLL_S
from expert_system.routing.router import Router
from expert_system.testing.engine import FakeEngine
from expert_system.testing.expert import make_expert
from expert_system.testing.router import FakeEncoder, fake_calibration

Start = Callable[..., AbstractAsyncContextManager[Running]]


def put(home: Path, folder: Path, name: str, **changes: Any) -> None:
    """Install an expert that nobody verified."""
    store = Store(home, dev=True)
    store.install_dev(make_expert(folder / name, describe_base(home / "bases" / "tiny"), name=name, **changes))
    store.close()


@pytest.fixture
def routed(home: Path, engine: FakeEngine, tmp_path: Path) -> Start:
    """Starts a server that routes with the shipped fake encoder; keywords are settings of [router]."""
    put(
        home,
        tmp_path,
        "expert-tables",
        capabilities=["tech:sql", "task:creative-writing"],
        routing={"examples": ["write an sql query"], "keywords": ["sql"]},
        composition={"category": "tech", "load_order": 5},
    )

    @asynccontextmanager
    async def started(dev: bool = True, **router: Any) -> AsyncIterator[Running]:
        config = Config.model_validate(
            {"home": home, "dev": dev, "server": {"port": 0}, "router": {"enabled": "on", **router}}
        )
        app = App(config, lambda _: engine, lambda _, source: Router(FakeEncoder(), fake_calibration(), source))
        async with running(app) as found:
            yield found

    return started


async def test_generate_routes_when_no_expert_is_named(routed: Start, engine: FakeEngine) -> None:
    """The first event is the plan with scores, reasons and versions, and the engine runs what it says."""
    async with routed() as server, AsyncClient(server.target) as client:
        answer = await client.complete(messages=[("user", "Write an SQL query")], max_tokens=2)

    routing = answer.plan.routing
    assert routing is not None
    assert ["expert-tables"] == [e.name for e in answer.plan.experts] == [e.name for e in routing.experts]
    assert routing.experts[0].score > 0.5
    assert routing.experts[0].reasons
    assert routing.router_version == "fake"
    assert "2 (request)" == answer.plan.parameters["max_tokens"]
    assert "0.8 (router)" == answer.plan.parameters["temperature"]
    assert engine.seen[0].expert_set is not None
    assert answer.plan.experts[0].digest == engine.seen[0].expert_set.members[0].expert


async def test_what_asks_for_nothing_special_is_answered_by_the_base(routed: Start, engine: FakeEngine) -> None:
    """Abstaining is a plan too, with its reason."""
    async with routed() as server, AsyncClient(server.target) as client:
        answer = await client.complete("hi", max_tokens=1)

    assert answer.plan.routing is not None
    assert answer.plan.routing.abstained
    assert answer.plan.routing.reasons
    assert engine.seen[0].expert_set is None


async def test_named_experts_and_switched_off_requests_are_not_routed(routed: Start) -> None:
    """The caller's choice counts; no routing is in the plan."""
    async with routed() as server, AsyncClient(server.target) as client:
        named = await client.complete("Write an SQL query", experts=["json"], max_tokens=1)
        off = await client.complete("Write an SQL query", route=False, max_tokens=1)

    assert (["expert-json"], None) == ([e.name for e in named.plan.experts], named.plan.routing)
    assert ((), None) == (off.plan.experts, off.plan.routing)


async def test_route_answers_without_running_anything(routed: Start, engine: FakeEngine) -> None:
    """RouterService.Route: the same plan that Generate would run with, for a prompt or a chat."""
    async with routed() as server, AsyncClient(server.target) as client:
        one = await client.route("Write an SQL query", temperature=0.3)
        chat = await client.route(messages=[("user", "hi"), ("assistant", "hello"), ("user", "Write an SQL query")])
        empty = await client.route("")
        answer = await client.complete("Write an SQL query", temperature=0.3, max_tokens=1)

    assert isinstance(one, Routing)
    assert one.experts == chat.experts
    assert "0.3 (request)" == one.parameters["temperature"]
    assert empty.abstained
    assert answer.plan.routing is not None
    assert one.experts == answer.plan.routing.experts
    assert 1 == len(engine.seen)


async def test_wishes_travel(routed: Start) -> None:
    """force, exclude, max_experts, in both calls; short names are full ones."""
    async with routed() as server, AsyncClient(server.target) as client:
        forced = await client.route("hi", force=["json=0.5"])
        excluded = await client.route("Write an SQL query", exclude=["tables"])
        none = await client.route("Write an SQL query", max_experts=0)
        answer = await client.complete("hi", force=["json"], max_tokens=1)

    assert [("expert-json", 0.5)] == [(e.name, e.weight) for e in forced.experts]
    assert excluded.abstained
    assert none.abstained
    assert ["expert-json"] == [e.name for e in answer.plan.experts]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"max_experts": 11}, "INVALID_ARGUMENT", r"routing\.max_experts: 11"),
        ({"force": ["nope"]}, "NOT_FOUND", "expert-nope"),
        ({"force": ["json"], "exclude": ["json"]}, "INVALID_ARGUMENT", "excluded as well"),
        ({"force": ["json"], "max_experts": 0}, "INVALID_ARGUMENT", r"routing\.max_experts: 0 are fewer"),
        ({"force": ["other-base"]}, "FAILED_PRECONDITION", "trained for another base"),
        ({"temperature": 9}, "INVALID_ARGUMENT", "temperature"),
    ],
)
async def test_a_wish_that_makes_no_sense_is_refused(
    routed: Start, options: dict[str, Any], code: str, message: str
) -> None:
    """With a status of its own, by both calls."""
    async with routed() as server, AsyncClient(server.target) as client:
        for call in (client.route, client.complete):
            with pytest.raises(RequestFailed, match=message) as failed:
                await call("Write an SQL query", **options)
            assert code == failed.value.code.name


async def test_without_a_verified_expert_the_base_answers_by_default(start: Any) -> None:
    """`auto` routes only where somebody vouched for an expert."""
    async with start() as server, AsyncClient(server.target) as client:
        assert (await client.complete("Write an SQL query", max_tokens=1)).plan.routing is None


async def test_a_server_whose_routing_is_off_says_so_to_who_asks(routed: Start) -> None:
    """Requests that do not ask are answered by the base."""
    async with routed(enabled="off") as server, AsyncClient(server.target) as client:
        assert (await client.complete("Write an SQL query", max_tokens=1)).plan.routing is None
        for call in (client.route("x"), client.complete("x", route=True)):
            with pytest.raises(RequestFailed, match="routing is off") as failed:
                await call
            assert grpc.StatusCode.FAILED_PRECONDITION is failed.value.code


async def test_an_expert_installed_while_the_server_runs_is_found(routed: Start, home: Path, tmp_path: Path) -> None:
    """Without a restart, without retraining, about a second later."""
    import asyncio

    async with routed() as server, AsyncClient(server.target) as client:
        text = "knit a scarf with this knitting pattern"
        assert (await client.route(text)).abstained

        put(
            home,
            tmp_path,
            "expert-knit",
            routing={"examples": ["knit a scarf with a knitting pattern"], "keywords": ["knit", "knitting", "scarf"]},
        )
        async with asyncio.timeout(POLL_S * 20):
            while (await client.route(text)).abstained:  # noqa: ASYNC110 - what is waited for lies in the server's thread
                await asyncio.sleep(0.1)

        assert ["expert-knit"] == [e.name for e in (await client.route(text)).experts]


async def test_one_line_and_metrics_for_each_decision(routed: Start) -> None:
    """What was decided and how long it took, without a word of the prompt."""
    log = io.StringIO()
    telemetry.log_to(log)
    async with routed() as server, AsyncClient(server.target) as client:
        await client.route("Write an SQL query about zebras", request_id="r-1")
        await client.route("Write an SQL query about zebras", request_id="r-2")

    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    told = {line["request_id"]: line for line in lines if line["event"] == "route"}
    assert ["expert-tables@1.0.0=1"] == told["r-1"]["experts"]
    assert ("routed", False, True) == (told["r-1"]["outcome"], told["r-1"]["cached"], told["r-2"]["cached"])
    assert "zebra" not in log.getvalue()

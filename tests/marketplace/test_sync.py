"""The sync daemon: from a push to a running server that answers with the new version."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from expert_system.app import Running
from expert_system.cli.market import _Remote
from expert_system.client import AsyncClient, Client
from expert_system.domain import Delta, Done, Plan
from expert_system.errors import AdapterRefused, Overloaded, RequestError
from expert_system.marketplace.acquire import Acquirer
from expert_system.marketplace.health import HealthPage
from expert_system.marketplace.preload import Held, choose, tell, weights_bytes
from expert_system.marketplace.store import Store
from expert_system.marketplace.sync import Sync, wait_s
from expert_system.testing.market import Market, flip_one_byte, weights_of

ServerFactory = Callable[..., AbstractAsyncContextManager[Running]]


async def test_a_pushed_version_reaches_a_running_server_without_disturbing_streams(
    market: Market, home: Path, start: ServerFactory
) -> None:
    """Issue A5: publish -> sync -> the running server answers with the new version, no restart."""
    store = market.store(home, with_base=False)
    acquirer = Acquirer(store)
    market.publish(version="1.0.0")
    acquirer.install([market.source("expert-sql")])
    async with start(dev=False) as running, AsyncClient(running.target) as client:
        with Client(running.target) as plain:
            daemon = Sync(store, lambda: acquirer.update(tolerant=True), [_Remote(running.target, plain)])
            await asyncio.to_thread(daemon.round)
            assert "1.0.0" == (await _answer(client))[0]

            stream = client.generate("a long one", experts=["sql"], max_tokens=40, ignore_eos=True)
            first = await anext(stream)
            assert isinstance(first, Plan)
            assert "1.0.0" == first.experts[0].version
            market.publish(version="1.1.0")
            done = await asyncio.to_thread(daemon.round)
            assert done.seconds < 10, "from push to preloaded; benchmarks/sync.py reports the figure"
            assert ("expert-sql@1.1.0",) == done.told[0].loaded
            assert isinstance([event async for event in stream][-1], Done)
            version, digest = await _answer(client)
            assert ("1.1.0", store.find("sql").digest) == (version, digest)

            assert () == (await asyncio.to_thread(daemon.round)).told[0].retired, "once is enough"
            held = {e.version: e.loaded for e in (await client.experts()).experts if e.name == "expert-sql"}
            assert {"1.0.0": False, "1.1.0": True} == held, "1.0.0 is the --dev install of the same name"
    store.close()


async def _answer(client: AsyncClient) -> tuple[str, str]:
    """The version and digest that an answer was made with, as its plan says."""
    events = [event async for event in client.generate("hi", experts=["sql"], max_tokens=4)]
    plan = events[0]
    assert isinstance(plan, Plan)
    assert any(isinstance(event, Delta) for event in events)
    return plan.experts[0].version, plan.experts[0].digest


def test_a_bad_update_is_reported_and_the_good_version_stays(market: Market, store: Store, acquirer: Acquirer) -> None:
    """Issue A5: a bad update never displaces a good version."""
    market.publish(version="1.0.0")
    acquirer.install([market.source("expert-sql")])
    market.publish(version="1.1.0", after_signing=lambda folder: flip_one_byte(weights_of(folder)))
    daemon = Sync(store, lambda: acquirer.update(tolerant=True))
    assert "4.2" in daemon.round().problems[0]
    assert daemon.last_good is None
    assert "1.0.0" == store.find("sql").manifest.version
    market.publish(version="1.1.1")
    assert [] == daemon.round().problems
    assert "1.1.1" == store.find("sql").manifest.version


def test_a_server_that_is_down_does_not_fail_the_installation(market: Market, store: Store, acquirer: Acquirer) -> None:
    """A node's store is kept current whether or not its server runs."""
    market.publish()
    acquirer.install([market.source("expert-sql")])
    with Client("127.0.0.1:1") as client:
        done = Sync(store, lambda: acquirer.update(tolerant=True), [_Remote("127.0.0.1:1", client)]).round()
    assert 1 == len(done.problems)
    assert "1.0.0" == store.find("sql").manifest.version


def test_preloading_goes_by_priority_until_the_budget_is_reached(
    market: Market, store: Store, acquirer: Acquirer
) -> None:
    """Issue A5: by priority until the memory budget is reached."""
    for name, priority in (("expert-a", 0.1), ("expert-b", 0.9), ("expert-c", 0.5)):
        market.publish(name, routing={"priority": priority})
        acquirer.install([market.source(name)])
    experts = store.experts()
    room_for_two = 2 * weights_bytes(experts[0])
    assert ["expert-b", "expert-c"] == [expert.manifest.name for expert in choose(experts, room_for_two)]


def test_the_daemon_stops_at_once_when_told(store: Store, acquirer: Acquirer) -> None:
    """SIGTERM ends the wait between two rounds."""
    stop = threading.Event()
    daemon = Sync(store, lambda: acquirer.update(tolerant=True))
    started = time.monotonic()
    daemon.watch(stop, interval_s=600, after_round=stop.set)
    assert time.monotonic() - started < 5
    assert daemon.last_good is not None


@pytest.mark.parametrize(("failures", "low", "high"), [(0, 48, 72), (1, 96, 144), (20, 2880, 4320)])
def test_failures_in_a_row_wait_longer_up_to_a_limit(failures: int, low: float, high: float) -> None:
    """Back-off with jitter."""
    assert low <= wait_s(60, failures, -0.2) <= wait_s(60, failures, 0.2) <= high


def test_health_says_ready_only_after_a_good_round() -> None:
    """Kubernetes probes: live at once, ready after the first good round."""
    ready = threading.Event()
    with HealthPage(ready.is_set) as page:
        assert 200 == _status(page.port, "/livez")
        assert 503 == _status(page.port, "/readyz")
        ready.set()
        assert 200 == _status(page.port, "/readyz")
        assert 200 == _status(page.port, "/metrics")
        assert 404 == _status(page.port, "/")


def _status(port: int, path: str) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    status = connection.getresponse().status
    connection.close()
    return status


class Full:
    """A server without room, in which one expert cannot be loaded either."""

    target = "here"

    def __init__(self, store: Store, room: int) -> None:
        self._store = store
        self._room = room

    def held(self) -> list[Held]:
        """Everything, nothing loaded."""
        return [Held(digest=e.digest, loaded=False, loadable=True) for e in self._store.experts()]

    def load(self, reference: str) -> None:
        """Refuse expert-a by itself, and everything once it is full."""
        if reference.startswith("expert-a"):
            raise AdapterRefused("broken")
        if self._room == 0:
            raise Overloaded("no room")
        self._room -= 1

    def unload(self, reference: str) -> None:
        """Somebody uses it."""
        raise RequestError(f"{reference} is in use")


def test_a_full_server_is_no_failure_and_a_busy_version_is_asked_for_again(
    market: Market, store: Store, acquirer: Acquirer
) -> None:
    """Issue A5: replaced versions are retired only when no request uses them."""
    for name in ("expert-a", "expert-b", "expert-c"):
        market.publish(name)
        acquirer.install([market.source(name)])
    market.publish("expert-c", version="1.1.0")
    acquirer.update()
    told = tell(Full(store, room=1), store, budget_bytes=2**30)
    assert ("expert-b@1.0.0",) == told.loaded
    assert ("expert-c@1.0.0",) == told.waiting
    assert ("here: expert-a@1.0.0: broken",) == told.problems

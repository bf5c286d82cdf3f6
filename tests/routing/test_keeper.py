"""The router of a running server: loaded when needed, in step with the store."""

from __future__ import annotations

import pytest

from expert_system.errors import ConfigError, RouterUnavailable
from expert_system.routing.catalog import Entry
from expert_system.routing.keeper import Keeper
from expert_system.routing.router import Router, Source
from expert_system.testing.router import FakeEncoder, fake_calibration
from tests.routing.entries import make_entry


class Node:
    """A store that changes, and whether a router model is there."""

    def __init__(self, *entries: Entry, model: bool = True) -> None:
        self.entries = list(entries)
        self.loads = 0
        self.model = model
        self.source = Source(entries=lambda: tuple(self.entries), revision=lambda: len(self.entries))

    def load(self) -> Router | None:
        """Make the router, and count it."""
        self.loads += 1
        return Router(FakeEncoder(), fake_calibration(), self.source) if self.model else None

    def keeper(self, enabled: str) -> Keeper:
        """A keeper that nothing was loaded by yet."""
        return Keeper(self.load, self.source, enabled=enabled)


def test_auto_routes_once_somebody_verified_an_expert() -> None:
    """A model and a signed expert switch routing on, without a restart; nothing is loaded before."""
    node = Node(make_entry("a", verified=False))
    keeper = node.keeper("auto")
    keeper.refresh()
    assert (None, 0) == (keeper.current(), node.loads)

    node.entries.append(make_entry("b"))
    keeper.refresh()

    router = keeper.current()
    assert router is not None
    assert 2 == router.experts


def test_auto_without_a_model_is_the_base_alone() -> None:
    """A node without router models serves as before; who asks for the router is told."""
    keeper = Node(make_entry("a"), model=False).keeper("auto")
    keeper.refresh()

    assert keeper.current() is None
    with pytest.raises(RouterUnavailable, match="no router model"):
        keeper.require()


def test_off_is_off_even_for_who_asks() -> None:
    """Nothing is loaded."""
    node = Node(make_entry("a"))
    keeper = node.keeper("off")
    keeper.refresh()

    assert keeper.current() is None
    with pytest.raises(RouterUnavailable, match="routing is off"):
        keeper.require()
    assert 0 == node.loads


def test_who_asks_gets_the_router_though_nothing_is_verified() -> None:
    """A developer's server routes on request."""
    keeper = Node(make_entry("a", verified=False)).keeper("auto")

    assert 1 == keeper.require().experts
    assert keeper.current() is None


def test_on_routes_among_unverified_experts_too() -> None:
    """What the source offers is the server's choice (`dev`)."""
    keeper = Node(make_entry("a", verified=False)).keeper("on")
    keeper.refresh()

    assert keeper.current() is not None


def test_a_broken_model_is_told_at_the_start() -> None:
    """Loading fails loudly."""

    def load() -> Router | None:
        raise ConfigError("checksum")

    keeper = Keeper(load, Node(make_entry("a")).source, enabled="auto")

    with pytest.raises(ConfigError, match="checksum"):
        keeper.refresh()

"""A signed market, a store that trusts it, and what installs from one into the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from expert_system.marketplace.acquire import Acquirer
from expert_system.marketplace.store import Store
from expert_system.testing.market import Market

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


@pytest.fixture
def market(tmp_path: Path) -> Market:
    """A publisher without experts yet."""
    return Market(tmp_path / "market")


@pytest.fixture
def store(market: Market, tmp_path: Path) -> Iterator[Store]:
    """An empty store that trusts the market and has its base."""
    found = market.store(tmp_path / "node")
    yield found
    found.close()


@pytest.fixture
def acquirer(store: Store) -> Acquirer:
    """Installs into the store."""
    return Acquirer(store)

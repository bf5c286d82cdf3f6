"""What tests of the router share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from expert_system.routing.catalog import Entry, read_folder

ROOT = Path(__file__).resolve().parents[2]

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


@pytest.fixture(scope="session")
def official() -> tuple[Entry, ...]:
    """The six official experts."""
    return read_folder(ROOT / "experts")


@pytest.fixture(scope="session")
def synthetic() -> tuple[Entry, ...]:
    """Thirty experts that exist for tests only."""
    return read_folder(ROOT / "tests" / "routing" / "catalogue")

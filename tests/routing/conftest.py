"""What tests of the router share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from expert_system.routing.catalog import Entry, read_folder

ROOT = Path(__file__).resolve().parents[2]

OFFICIAL = frozenset(
    f"expert-{name}" for name in ("json-parser", "english-basic", "sql", "cypher", "retail", "classifier")
)

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


@pytest.fixture(scope="session")
def official() -> tuple[Entry, ...]:
    """The six official experts; demonstrations beside them are left out."""
    return tuple(entry for entry in read_folder(ROOT / "experts") if entry.name in OFFICIAL)


@pytest.fixture(scope="session")
def synthetic() -> tuple[Entry, ...]:
    """Thirty experts that exist for tests only."""
    return read_folder(ROOT / "tests" / "routing" / "catalogue")

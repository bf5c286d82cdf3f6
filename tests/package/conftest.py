"""A tiny base and an expert for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from expert_system.package.base import BaseDescription
from expert_system.testing.expert import make_base, make_expert

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseDescription:
    """A random base of two layers."""
    return make_base(tmp_path_factory.mktemp("bases") / "tiny")


@pytest.fixture
def expert(base: BaseDescription, tmp_path: Path) -> Path:
    """An unsigned expert's folder."""
    return make_expert(tmp_path / "expert", base)

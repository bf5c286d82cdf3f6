from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from expert_system.training.dataset import PARTS, Part, generate
from expert_system.training.recipe import Recipe, read_recipe

EXPERTS = Path(__file__).resolve().parents[3] / "experts"


@cache
def _recipe(name: str) -> Recipe:
    return read_recipe(EXPERTS / name / "recipe.json")


@cache
def _parts(name: str) -> Mapping[str, Part]:
    return generate(_recipe(name).dataset, EXPERTS / name)


@cache
def _sources(name: str) -> Mapping[str, Any]:
    folder = EXPERTS / name / "dataset"
    return {part: json.loads((folder / f"{part}.json").read_text(encoding="utf-8")) for part in PARTS}


@pytest.fixture(scope="session")
def experts() -> Path:
    return EXPERTS


@pytest.fixture(scope="session")
def recipe_of() -> Callable[[str], Recipe]:
    return _recipe


@pytest.fixture(scope="session")
def parts_of() -> Callable[[str], Mapping[str, Part]]:
    """Every part of an expert's data set; written once a session."""
    return _parts


@pytest.fixture(scope="session")
def sources_of() -> Callable[[str], Mapping[str, Any]]:
    """What each part is written from."""
    return _sources

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from expert_system.training.dataset import Part, generate
from expert_system.training.recipe import Recipe, read_recipe
from expert_system.training.split import Split, read_split

EXPERT = Path(__file__).resolve().parents[2] / "experts" / "expert-json-parser"


@pytest.fixture(scope="session")
def expert_folder() -> Path:
    return EXPERT


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return read_recipe(EXPERT / "recipe.json")


@pytest.fixture(scope="session")
def parts(recipe: Recipe) -> dict[str, Part]:
    return dict(generate(recipe.dataset, EXPERT))


@pytest.fixture(scope="session")
def splits() -> dict[str, Split]:
    return {name: read_split(EXPERT / "dataset" / f"{name}.json") for name in ("train", "validation", "test")}


@pytest.fixture(scope="session")
def pools() -> dict[str, list[str]]:
    data: dict[str, Any] = json.loads((EXPERT / "dataset" / "values.json").read_text(encoding="utf-8"))
    return data

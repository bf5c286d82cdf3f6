"""The recipes that are committed beside the experts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from expert_system.training.recipe import read_recipe

EXPERTS = Path(__file__).resolve().parents[2] / "experts"
OFFICIAL = sorted(EXPERTS.glob("expert-*"))
OTHERS = sorted(EXPERTS.glob("*/recipe.*.json"))


@pytest.mark.parametrize("folder", OFFICIAL, ids=lambda folder: folder.name)
def test_every_official_expert_has_a_recipe_for_the_larger_base(folder: Path) -> None:
    """Issue A7: a recipe for Qwen3-0.6B beside each."""
    bases = {path.name: read_recipe(path).training.base for path in folder.glob("recipe*.json")}

    assert bases["recipe.json"] == "smollm2-135m-instruct"
    assert bases["recipe.qwen3-0.6b.json"] == "qwen3-0.6b"


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_second_recipe_trains_on_the_same_data(path: Path) -> None:
    """Two kinds, or two bases, are only comparable on one data set."""
    first = json.loads(path.with_name("recipe.json").read_text())["dataset"]
    second = json.loads(path.read_text())["dataset"]

    assert second == first
    assert read_recipe(path).training != read_recipe(path.with_name("recipe.json")).training

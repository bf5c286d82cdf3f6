"""`scripts/retrain`: when a second training counts as the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from expert_system.engine import precision
from scripts.lib import retrain


def evaluation(value: float, **other: object) -> dict[str, Any]:
    """An evaluation.json with this score, 0.1 on either side of it."""
    found = {"name": "exact", "expert": {"value": value, "low": value - 0.1, "high": value + 0.1}}
    return {"primary": "exact", "held_out_sha256": "h", "measures": [found], **other}


@pytest.mark.parametrize("value", [0.41, 0.5, 0.59])
def test_a_score_within_the_committed_interval_is_reproduced(value: float) -> None:
    """Issue A7: retraining with the committed recipe reproduces the committed scores within the interval."""
    assert "" == retrain.verdict(evaluation(0.5), evaluation(value), ["a", "a"])


@pytest.mark.parametrize(
    ("again", "data", "why"),
    [
        (evaluation(0.3), ["a", "a"], "30.0%, outside the committed 40.0% to 60.0%"),
        (evaluation(0.7), ["a", "a"], "70.0%, outside"),
        (evaluation(0.5), ["a", "b"], "training data have sha256 b"),
        (evaluation(0.5, held_out_sha256="other"), ["a", "a"], "held-out cases"),
    ],
    ids=["worse", "better", "other data", "other cases"],
)
def test_another_score_or_other_data_are_not(again: dict[str, Any], data: list[str], why: str) -> None:
    """Issue A7: a better score is another score too, and says that something has changed."""
    assert why in retrain.verdict(evaluation(0.5), again, data)


def test_a_processor_that_emulates_bf16_trains_in_fp32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """decisions/0012: the recipe's copy says so, and nothing else in it changes."""
    recipe = tmp_path / "recipe.json"
    for here, expected in (("float32", "float32"), (precision.AUTO, "bfloat16")):
        recipe.write_text(json.dumps({"training": {"precision": "bfloat16", "seed": 1}}))
        monkeypatch.setattr(precision, "chosen", lambda _, here=here: here)
        retrain.settled(recipe)
        assert {"training": {"precision": expected, "seed": 1}} == json.loads(recipe.read_text())

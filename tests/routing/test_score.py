"""Scores are a logistic function of the features; a calibration for other features is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expert_system.errors import ConfigError
from expert_system.routing.features import FEATURES
from expert_system.routing.score import Calibration, contributions, read_calibration, scores
from expert_system.testing.router import fake_calibration


def written(folder: Path, **changes: Any) -> Path:
    """A calibration on disk."""
    content = json.loads(fake_calibration().model_dump_json()) | changes
    (folder / "calibration.json").write_text(json.dumps(content))
    return folder


def test_a_score_is_the_logistic_of_the_weighted_sum() -> None:
    """score = 1 / (1 + exp(-(x . w + bias) / temperature)); never above 1 or below 0, however large the sum."""
    calibration = fake_calibration().model_copy(update={"temperature": 2.0})
    row = np.zeros((3, len(FEATURES)), dtype=np.float32)
    row[1, FEATURES.index("need")] = 2.5
    row[2, FEATURES.index("best_similarity")] = 1e6

    found = scores(row, calibration)

    expected = [1 / (1 + np.exp(4.5 / 2)), 1 / (1 + np.exp(2.0 / 2)), 1.0]
    assert np.allclose(expected, found, atol=1e-6)


def test_contributions_name_what_spoke_loudest() -> None:
    """By size, whether for or against."""
    row = np.zeros(len(FEATURES), dtype=np.float32)
    row[FEATURES.index("need")] = 1.0
    row[FEATURES.index("negative_excess")] = 0.5

    assert {"negative_excess": -2.0, "need": 1.0} == contributions(row, fake_calibration())
    assert ["negative_excess", "need"] == list(contributions(row, fake_calibration()))


def test_a_calibration_is_read_back(tmp_path: Path) -> None:
    """What was written is what is used."""
    assert fake_calibration() == read_calibration(written(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": [*FEATURES[:-1], "luck"]}, "no weight for 'resident'"),
        ({"features": [*FEATURES, "luck"], "weights": [0.0] * (len(FEATURES) + 1)}, "a weight for 'luck'"),
        ({"features": [*reversed(FEATURES)]}, "in another order"),
        ({"weights": [1.0]}, "features but 1 weights"),
        ({"second_threshold": 0.1}, "below threshold"),
        ({"threshold": 2.0}, "threshold: "),
        ({"temperature": 0.0}, "temperature: "),
        ({"surprise": 1}, "surprise: Extra inputs"),
        ({"encoder_digest": "abc"}, "encoder_digest: "),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    """A calibration is never misread."""
    with pytest.raises(ConfigError, match=message):
        read_calibration(written(tmp_path, **changes))


def test_a_folder_without_a_calibration_is_no_model(tmp_path: Path) -> None:
    """The message names the file."""
    with pytest.raises(ConfigError, match=r"calibration\.json: cannot be read"):
        read_calibration(tmp_path)


def test_numbers_are_never_read_from_text() -> None:
    """Strict: a weight that is a string is an error."""
    content = json.loads(fake_calibration().model_dump_json()) | {"bias": "-1"}
    with pytest.raises(ValueError, match="bias"):
        Calibration.model_validate_json(json.dumps(content))

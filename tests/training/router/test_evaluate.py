"""Figures and fits on small cases whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from expert_system.training.router.calibrate import (
    FIXED,
    SPEAKS_AGAINST,
    SPEAKS_FOR,
    Case,
    best_thresholds,
    chosen,
    f1,
    fit_weights,
)
from expert_system.training.router.evaluate import Outcome, auroc, by, calibration_error, figures
from expert_system.training.router.examples import Example, Kind


def outcome(right: str, best: str, score: float, taken: str = "", language: str = "en") -> Outcome:
    """An outcome; experts are single letters."""
    example = Example(text="x", experts=tuple(right), kind=Kind.PLAIN, language=language, family="f", task="none")
    return Outcome(example=example, right=frozenset(right), best=best, score=score, chosen=frozenset(taken))


def test_figures_of_four_prompts() -> None:
    """top-1 counts prompts with a need; set F1 counts all; a wrong choice on an idle prompt is 0."""
    found = figures(
        [outcome("a", "a", 0.9, "a"), outcome("ab", "a", 0.8, "a"), outcome("", "a", 0.2), outcome("", "b", 0.6, "b")]
    )

    assert 1.0 == found.top1
    assert pytest.approx((1 + 2 / 3 + 1 + 0) / 4) == found.set_f1
    assert 1.0 == found.abstention_auroc
    assert 0.5 == found.abstained_rightly


def test_figures_are_told_apart_by_group() -> None:
    """by() groups by any word of the example."""
    groups = by([outcome("a", "a", 1.0, "a"), outcome("a", "b", 1.0, "b", language="pt")], lambda e: e.language)

    assert [("en", 1.0), ("pt", 0.0)] == [(name, found.top1) for name, found in groups.items()]


def test_auroc_counts_ties_half() -> None:
    """The area is the probability that a positive stands above a negative."""
    assert 0.875 == auroc([0.9, 0.5], [0.5, 0.1])
    assert None is auroc([], [0.1])


def test_calibration_error_of_an_honest_and_a_boastful_score() -> None:
    """Half of the scores of 0.5 are right: 0. None of the scores of 0.9 is: 0.9."""
    half = np.array([0.5, 0.5])

    assert 0.0 == calibration_error(half, np.array([True, False]))
    assert pytest.approx(0.9) == calibration_error(np.array([0.9, 0.9]), np.array([False, False]))


def test_weights_follow_the_data_and_keep_their_signs() -> None:
    """A feature that speaks for an expert has no weight below 0, whatever the data say; fixed weights stay."""
    chance = np.random.default_rng(1)
    cases = []
    for _ in range(200):
        right = np.zeros(5, dtype=np.bool_)
        right[chance.integers(5)] = True
        similar = right * 0.6 + chance.normal(0.2, 0.1, 5)
        cases.append(Case(table=np.stack([similar, -similar, 0 * similar], axis=1).astype(np.float32), right=right))

    fitted = fit_weights(cases, ("best_similarity", "need", "priority"))

    assert fitted.weights[0] > 5.0
    assert 0.0 <= fitted.weights[1] < 0.5
    assert FIXED["priority"] == fitted.weights[2]
    assert set() == SPEAKS_FOR & SPEAKS_AGAINST


def test_thresholds_are_those_with_the_best_sets() -> None:
    """One threshold for the first expert, a higher or equal one for further experts."""
    scores = [np.array([0.9, 0.62, 0.1]), np.array([0.3, 0.2, 0.1]), np.array([0.8, 0.45, 0.0])]
    right = [np.array([True, True, False]), np.array([False] * 3), np.array([True, False, False])]

    low, high = best_thresholds([s.astype(np.float32) for s in scores], right)

    assert 0.45 < high <= 0.62
    assert 0.3 < low <= high
    assert 1.0 == f1(chosen(scores[0].astype(np.float32), low, high), right[0])

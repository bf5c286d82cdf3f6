"""Intervals, gains and what the measures of an evaluation are."""

from __future__ import annotations

import pytest

from expert_system.errors import PackageError
from expert_system.training.checkers.verdict import Verdict
from expert_system.training.scoring import BASE, EXPERT, GRAMMAR, gain, interval, measures, primary_of, shared_measures


def verdict(score: float, *, primary: str = "exact", **others: float) -> Verdict:
    return Verdict(measures={primary: score, **others}, primary=primary)


def test_an_interval_holds_its_mean_and_narrows_with_examples() -> None:
    """Percentile bootstrap, seeded: the same verdicts give the same interval."""
    few, many = interval([1.0, 0.0] * 20), interval([1.0, 0.0] * 500)

    assert few == interval([1.0, 0.0] * 20)
    assert few.low < few.value < few.high
    assert few.high - few.low > many.high - many.low
    assert (0.5, 0.5) == (few.value, many.value)


def test_all_right_leaves_no_doubt_in_the_interval() -> None:
    """A measure at its end has an interval of one point, which the manifest accepts."""
    assert (1.0, 1.0, 1.0) == (interval([1.0] * 5).low, interval([1.0] * 5).value, interval([1.0] * 5).high)


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Of 200 samples of 100 coins that land heads 30 times in 100, some 95% have an interval that holds 0.3."""
    import numpy as np

    rng = np.random.default_rng(1)
    found = [interval((rng.random(100) < 0.3).astype(float).tolist()) for _ in range(200)]

    assert 0.90 <= sum(one.low <= 0.3 <= one.high for one in found) / 200 <= 0.98


def test_a_gain_is_counted_case_by_case() -> None:
    """Paired: an expert that is better on every case has a gain without doubt, however different the cases are."""
    assert (0.5, 0.5) == (gain([1.0, 0.5], [0.5, 0.0]).low, gain([1.0, 0.5], [0.5, 0.0]).high)


def test_every_contender_is_in_every_measure() -> None:
    """The grammar's column is there when it was asked; the few-shot column is empty when there were no examples."""
    right, wrong = [verdict(1.0, parses=1.0)] * 2, [verdict(0.0, parses=1.0)] * 2

    exact, parses = measures({BASE: wrong, EXPERT: right, GRAMMAR: right})

    assert ("exact", "parses") == (exact.name, parses.name)
    assert (0.0, None, 1.0, 1.0) == (
        exact.base.value,
        exact.few_shot,
        exact.expert.value,
        exact.expert_with_grammar and exact.expert_with_grammar.value,
    )
    assert (1.0, 0.0) == (exact.gain.low, parses.gain.value)


def test_only_measures_that_every_case_has_are_reported() -> None:
    """A mean over some of the cases would not be a mean over the held-out set."""
    assert ("exact",) == shared_measures([verdict(1.0, valid=1.0), verdict(1.0)])


def test_cases_that_different_measures_decide_are_refused() -> None:
    """One figure decides whether an expert is proven."""
    with pytest.raises(PackageError, match="exact, f1"):
        primary_of([verdict(1.0), verdict(1.0, primary="f1")])

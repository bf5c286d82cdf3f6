"""Workloads are seeded and have the shape that they claim."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from statistics import mean, stdev

import pytest

from benchmarks.common.workload import gamma_arrivals, prompts, zipf_choices, zipf_shares


def test_equal_seeds_give_equal_workloads() -> None:
    """A run can be repeated."""
    assert prompts(3, 8, 1000, seed=1) == prompts(3, 8, 1000, seed=1)
    assert zipf_choices(50, 10, 1.0, seed=1) == zipf_choices(50, 10, 1.0, seed=1)
    assert gamma_arrivals(4.0, 2.0, 10.0, seed=1) == gamma_arrivals(4.0, 2.0, 10.0, seed=1)


def test_other_seeds_give_other_prompts() -> None:
    """No run finds the prompts of the one before in a cache."""
    assert prompts(1, 8, 1000, seed=1) != prompts(1, 8, 1000, seed=2)


def test_prompts_are_inside_the_vocabulary() -> None:
    """Also in a tiny one."""
    assert all(0 <= token < 40 for prompt in prompts(4, 100, 40, seed=0) for token in prompt)


def test_zipf_shares_fall_as_one_over_the_rank() -> None:
    """They sum to one."""
    shares = zipf_shares(100, 1.0)

    assert 1.0 == pytest.approx(sum(shares))
    assert 10.0 == pytest.approx(shares[0] / shares[9])


def test_choices_follow_the_shares() -> None:
    """The first of a hundred is asked for about a fifth of the time."""
    counted = Counter(zipf_choices(20_000, 100, 1.0, seed=3))

    assert zipf_shares(100, 1.0)[0] == pytest.approx(counted[0] / 20_000, abs=0.02)


@pytest.mark.parametrize("variation", [1.0, 2.0])
def test_arrivals_have_the_rate_and_the_variation(variation: float) -> None:
    """Within the noise of ten thousand arrivals, in order, within the duration."""
    times = gamma_arrivals(10.0, variation, 1000.0, seed=5)
    between = [later - earlier for earlier, later in pairwise(times)]

    assert 10.0 == pytest.approx(len(times) / 1000.0, rel=0.1)
    assert variation == pytest.approx(stdev(between) / mean(between), rel=0.1)
    assert sorted(times) == times
    assert times[-1] < 1000.0

"""Figures are what their names say."""

from __future__ import annotations

import pytest

from benchmarks.common.jobs import Run, Stream
from benchmarks.common.pairs import distinct, figures, sets
from benchmarks.common.statistics import Spread, gaps, percentile, ratios, spread


def test_a_spread_is_median_smallest_and_largest() -> None:
    """The order of measuring does not matter."""
    assert Spread(2.0, 1.0, 9.0) == spread([9.0, 1.0, 2.0])


def test_nothing_measured_has_no_figure() -> None:
    """Better no figure than a made-up one."""
    with pytest.raises(ValueError, match="no value"):
        spread([])
    with pytest.raises(ValueError, match="no value"):
        percentile([], 99)


@pytest.mark.parametrize(("percent", "expected"), [(0, 1.0), (50, 3.0), (75, 4.0), (90, 4.6), (100, 5.0)])
def test_percentiles_lie_between_neighbours(percent: float, expected: float) -> None:
    """Linear between the two nearest values, as numpy's default."""
    assert expected == pytest.approx(percentile([5.0, 1.0, 4.0, 2.0, 3.0], percent))


def test_ratios_are_taken_pair_by_pair() -> None:
    """A machine that slows down for both leaves the ratio alone."""
    assert [0.5, 0.5] == ratios([50.0, 5.0], [100.0, 10.0])


def test_gaps_lie_between_successive_tokens() -> None:
    """One less than tokens."""
    assert [1.0, 2.0] == gaps([1.0, 2.0, 4.0])


def run(step_s: float) -> Run:
    """Two streams of five tokens."""
    return Run(streams=[Stream(at_s=0.0, times_s=[step_s * n for n in range(1, 6)]) for _ in range(2)])


def test_a_run_counts_all_tokens_over_the_whole_time() -> None:
    """Prompts are in the time, not in the tokens."""
    assert 20.0 == pytest.approx(run(0.1).tokens_per_s)
    assert 100.0 == pytest.approx(run(0.1).step_ms)
    assert 0.1 == pytest.approx(run(0.1).streams[0].first_token_s)


def test_figures_compare_each_run_with_the_one_beside_it() -> None:
    """Retained is a ratio, added is a difference of steps."""
    found = figures([(run(0.1), run(0.2)), (run(0.3), run(0.4))])

    assert Spread(0.625, 0.5, 0.75) == round_spread(found["retained"])
    assert Spread(100.0, 100.0, 100.0) == round_spread(found["added_ms"])


def round_spread(found: object) -> Spread:
    """Without the last bits."""
    assert isinstance(found, Spread)
    return Spread(round(found.median, 6), round(found.low, 6), round(found.high, 6))


def test_distinct_experts_take_turns() -> None:
    """None means the base alone."""
    assert [(("a", 1.0),), (("b", 1.0),), (("a", 1.0),)] == distinct(["a", "b", "c"], 2, 3)
    assert [(), ()] == distinct(["a"], 0, 2)


def test_sets_have_their_size_and_number() -> None:
    """Distinct sets start at different experts."""
    found = sets(["a", "b", "c"], size=2, count=2, concurrency=3)

    assert [("a", "b"), ("b", "c"), ("a", "b")] == [tuple(name for name, _ in members) for members in found]

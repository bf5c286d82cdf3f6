"""From verdicts to figures: means with their 95% bootstrap intervals, and gains case by case.

    verdicts of each contender -> values -> Interval, Measure

Promise: every case counts once, the same cases are resampled for both sides of a gain, and the resampling is seeded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from expert_system.errors import PackageError
from expert_system.package.evidence import Interval, Measure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from expert_system.training.checkers.verdict import Verdict

BASE, FEW_SHOT, EXPERT, GRAMMAR = "base", "few_shot", "expert", "expert_with_grammar"
"""The contenders: the base alone, the base shown worked examples, the expert, the expert held to the case's schema."""

RESAMPLES = 10_000
CONFIDENCE = 0.95
SEED = 0


def interval(values: Sequence[float]) -> Interval:
    """The mean of per-case values and its percentile bootstrap interval."""
    data = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(SEED)
    means = data[rng.integers(0, len(data), size=(RESAMPLES, len(data)))].mean(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    value = round(float(data.mean()), 4)
    return Interval(value=value, low=min(value, round(float(low), 4)), high=max(value, round(float(high), 4)))


def gain(mine: Sequence[float], theirs: Sequence[float]) -> Interval:
    """How much more one reaches than the other, over the same cases."""
    return interval([one - other for one, other in zip(mine, theirs, strict=True)])


def values(verdicts: Sequence[Verdict], measure: str) -> list[float]:
    """One measure of every case, from 0 to 1."""
    return [verdict.measures[measure] for verdict in verdicts]


def scores(verdicts: Sequence[Verdict]) -> list[float]:
    """The primary measure of every case."""
    return [verdict.score for verdict in verdicts]


def shared_measures(verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """The measures that every verdict has, in their order."""
    return tuple(name for name in verdicts[0].measures if all(name in verdict.measures for verdict in verdicts))


def primary_of(verdicts: Sequence[Verdict]) -> str:
    """The measure that decides.

    Raises:
        PackageError: the cases are checked in ways that different measures decide.
    """
    names = sorted({verdict.primary for verdict in verdicts})
    if len(names) > 1:
        raise PackageError(f"the cases mix checks that different measures decide ({', '.join(names)}); split them")
    return names[0]


def measures(verdicts: Mapping[str, Sequence[Verdict]]) -> tuple[Measure, ...]:
    """Every measure of every contender, and the expert's gain over the base.

    Args:
        verdicts: of each contender, in the cases' order; BASE, FEW_SHOT and EXPERT are there, GRAMMAR may be.
    """
    found: list[Measure] = []
    for name in shared_measures(verdicts[EXPERT]):
        each = {who: values(judged, name) for who, judged in verdicts.items()}
        intervals = {who: interval(data) for who, data in each.items()}
        found.append(
            Measure(
                name=name,
                base=intervals[BASE],
                few_shot=intervals.get(FEW_SHOT),
                expert=intervals[EXPERT],
                expert_with_grammar=intervals.get(GRAMMAR),
                gain=gain(each[EXPERT], each[BASE]),
            )
        )
    return tuple(found)

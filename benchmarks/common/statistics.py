"""Figures from measurements: medians with their spread, percentiles, ratios of pairs, gaps between tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import median


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and the smallest and largest value that it stands for."""

    median: float
    low: float
    high: float

    def json(self) -> dict[str, float]:
        """As it stands in a result file."""
        return asdict(self)


def spread(values: Sequence[float]) -> Spread:
    """Median, minimum and maximum.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("no value was measured")
    return Spread(median(values), min(values), max(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which this share lies, linear between the two nearest.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("no value was measured")
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def ratios(measured: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Each measurement divided by the reference measured beside it, so that drift of the machine cancels."""
    return [value / beside for value, beside in zip(measured, reference, strict=True)]


def gaps(times: Sequence[float]) -> list[float]:
    """Seconds between successive tokens of one stream."""
    return [later - earlier for earlier, later in pairwise(times)]

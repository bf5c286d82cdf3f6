"""Figures of a router on examples: is the best expert right, is the set, does it abstain when it should, is it honest?

    outcomes (scores, chosen, right) -> Figures, also by language, kind and family

Promise: pure; a prompt that needs no expert counts in set F1 and abstention, one that needs some counts everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from expert_system.training.router.examples import Example

BINS = 15
"""Of the calibration error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a router made of one example."""

    example: Example
    right: frozenset[str]
    """Who of the catalogue is right; empty when nobody is needed or nobody is there."""
    best: str
    """The expert with the highest score; empty when there is none."""
    score: float
    """That score, 0 to 1."""
    chosen: frozenset[str]

    @property
    def top1(self) -> bool:
        """Whether the best is right."""
        return self.best in self.right

    @property
    def f1(self) -> float:
        """Of the chosen set against the right one; 1 when both are empty."""
        total = len(self.chosen) + len(self.right)
        return 2.0 * len(self.chosen & self.right) / total if total else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of some outcomes; None where there is nothing to measure."""

    prompts: int
    top1: float | None
    """Share of prompts that need an expert whose best-scored expert is right."""
    set_f1: float
    """Mean over all prompts."""
    abstention_auroc: float | None
    """How well the best score parts prompts that need an expert from those that need none."""
    abstained_rightly: float | None
    """Share of prompts without need for which nobody was chosen."""
    calibration_error: float
    """Expected difference between the best score and the share of best experts that are right, 15 bins."""

    def json(self) -> dict[str, float | int | None]:
        """Rounded to four places."""
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}


def figures(outcomes: Sequence[Outcome]) -> Figures:
    """All figures of some outcomes, at least one."""
    needing = [found for found in outcomes if found.right]
    idle = [found for found in outcomes if not found.right]
    return Figures(
        prompts=len(outcomes),
        top1=_mean([found.top1 for found in needing]),
        set_f1=float(np.mean([found.f1 for found in outcomes])),
        abstention_auroc=auroc([found.score for found in needing], [found.score for found in idle]),
        abstained_rightly=_mean([not found.chosen for found in idle]),
        calibration_error=calibration_error(
            np.array([found.score for found in outcomes]), np.array([found.top1 for found in outcomes])
        ),
    )


def by(outcomes: Sequence[Outcome], key: Callable[[Example], str]) -> Mapping[str, Figures]:
    """Figures of each group, in the order of the groups' names."""
    groups: dict[str, list[Outcome]] = {}
    for found in outcomes:
        groups.setdefault(key(found.example), []).append(found)
    return {name: figures(groups[name]) for name in sorted(groups)}


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float | None:
    """Probability that a positive scores above a negative, ties counted half; None when either is missing."""
    if not positive or not negative:
        return None
    others = np.sort(np.array(negative))
    values = np.array(positive)
    below = np.searchsorted(others, values, side="left")
    up_to = np.searchsorted(others, values, side="right")
    return float((below + up_to).mean() / (2 * len(others)))


def calibration_error(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Expected calibration error with BINS bins of equal width (https://arxiv.org/abs/1706.04599)."""
    places = np.minimum((scores * BINS).astype(int), BINS - 1)
    error = 0.0
    for place in range(BINS):
        inside = places == place
        if inside.any():
            error += float(inside.mean()) * abs(float(scores[inside].mean()) - float(right[inside].mean()))
    return error


def _mean(values: Sequence[bool]) -> float | None:
    return float(np.mean(values)) if values else None

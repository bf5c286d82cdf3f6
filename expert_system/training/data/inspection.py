"""Is a finished data set fit to train on? The same steps that sift a provider's rows, over parts that exist.

    parts + test cases (+ encoder) -> findings -> "nothing wrong", or what to change

Promise: parts are looked at, never changed, and a look that did not happen is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from expert_system.training.data.parts import TEST
from expert_system.training.data.pipeline import Near, pipeline
from expert_system.training.data.sifting import sift
from expert_system.training.data.splits import leaks

if TYPE_CHECKING:
    from expert_system.training.data.row import Row
    from expert_system.training.data.sifting import Sifted

HELD_OUT = "the test part is what the others are kept clean of"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was looked at and what was found."""

    steps: Mapping[str, tuple[Sifted, ...]]
    """Part to its steps, in order."""
    leaks: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.leaks and not any(step.dropped for steps in self.steps.values() for step in steps)


def inspect(parts: Mapping[str, Sequence[Row]], cases: Sequence[Row], near: Near) -> Inspection:
    """Look at every part.

    Args:
        parts: train, validation, test.
        cases: the expert's test cases.
        near: how near duplicates are found.
    """
    found: dict[str, tuple[Sifted, ...]] = {}
    for name, rows in parts.items():
        others = HELD_OUT if name == TEST else [*cases, *parts.get(TEST, ())]
        found[name] = sift(rows, pipeline(near, others))[1]
    return Inspection(steps=found, leaks=tuple(leaks(parts)))

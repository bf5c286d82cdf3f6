"""What is true of one answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Several measures of one answer, and the one that decides."""

    measures: Mapping[str, float]
    """Name to a value from 0 to 1, higher is better; every verdict of a kind has the same names."""
    primary: str
    """The measure that counts as the answer's score."""
    problem: str = ""
    """Why the answer is not right, for people; empty when it is."""

    @property
    def score(self) -> float:
        """The value of the primary measure."""
        return self.measures[self.primary]

    @property
    def right(self) -> bool:
        """Whether the answer could not be better."""
        return self.score >= 1.0

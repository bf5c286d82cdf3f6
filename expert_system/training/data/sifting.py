"""Rows go through steps; each step says of every row why it cannot stay, or nothing.

    rows -> step -> rows -> step -> ... -> kept rows + what each step dropped and why

Promise: steps are pure, run in the order given, and a row is dropped by the first step that objects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from expert_system.training.data.row import Row

Step = Callable[[Sequence[Row]], Sequence[str | None]]
"""For each row the reason why it is dropped, or None."""

SHOWN = 3
"""Dropped prompts that a report quotes for each reason."""
SHOWN_CHARS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Sifted:
    """What one step did."""

    step: str
    seen: int
    dropped: Mapping[str, int]
    """Reason to count."""
    shown: Mapping[str, tuple[str, ...]]
    """Reason to the beginnings of a few dropped prompts."""
    skipped: str | None = None
    """Why the step did not run, when it did not."""

    @property
    def kept(self) -> int:
        """Rows that went on."""
        return self.seen - sum(self.dropped.values())


def sift(rows: Sequence[Row], steps: Mapping[str, Step | str]) -> tuple[tuple[Row, ...], tuple[Sifted, ...]]:
    """Send rows through steps.

    Args:
        rows: in the order in which the first of two alike is kept.
        steps: name to step, or to the reason why it is left out, which the report repeats.
    """
    report: list[Sifted] = []
    kept = tuple(rows)
    for name, step in steps.items():
        if isinstance(step, str):
            report.append(Sifted(step=name, seen=len(kept), dropped={}, shown={}, skipped=step))
            continue
        reasons = step(kept)
        dropped = [(reason, row) for row, reason in zip(kept, reasons, strict=True) if reason is not None]
        report.append(
            Sifted(
                step=name,
                seen=len(kept),
                dropped=dict(Counter(reason for reason, _ in dropped)),
                shown={
                    reason: tuple(row.prompt[:SHOWN_CHARS] for other, row in dropped if other == reason)[:SHOWN]
                    for reason, _ in dropped
                },
            )
        )
        kept = tuple(row for row, reason in zip(kept, reasons, strict=True) if reason is None)
    return kept, tuple(report)

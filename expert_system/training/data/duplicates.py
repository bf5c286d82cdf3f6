"""Rows that say the same: to the letter, nearly, or as a test case does.

    rows (+ embeddings) -> reasons (steps of `sifting`)

Promise: of rows that are alike the first stays; no row of training or validation asks what a test case asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from expert_system.training.data.row import Row
    from expert_system.training.data.sifting import Step

Embed = Callable[[Sequence[str]], Any]
"""Texts -> float array of shape (texts, d); the router's encoder, handed over by the command line."""

BLOCK_ROWS = 1024
"""Rows compared with all others at once: 1024 x 20,000 similarities are 80 MB."""
MIN_QUOTE_CHARS = 40
"""A test prompt that is shorter stands in other prompts by chance."""


def normal(text: str) -> str:
    """A text without what does not make it another one: case and spaces."""
    return " ".join(text.casefold().split())


def _asked(row: Row) -> str:
    return "\n".join(normal(turn["content"]) for turn in row.messages)


def exact_duplicates(rows: Sequence[Row]) -> list[str | None]:
    """Rows that ask what an earlier row asks, case and spaces aside."""
    answers: dict[str, str] = {}
    reasons: list[str | None] = []
    for row in rows:
        asked, answer = _asked(row), normal(row.answer)
        if asked not in answers:
            answers[asked] = answer
            reasons.append(None)
        else:
            same = answers[asked] == answer
            reasons.append("asked before" if same else "asked before, with another answer")
    return reasons


def near_duplicates(embed: Embed, cosine: float) -> Step:
    """A step that drops rows whose content is nearly that of an earlier kept one."""

    def step(rows: Sequence[Row]) -> list[str | None]:
        vectors = unit(embed([subject(row) for row in rows]))
        alike = [False] * len(rows)
        for start in range(0, len(rows), BLOCK_ROWS):
            likeness = vectors[start : start + BLOCK_ROWS] @ vectors[: start + BLOCK_ROWS].T
            for offset, row in enumerate(likeness):
                earlier = np.flatnonzero(row[: start + offset] >= cosine)
                alike[start + offset] = any(not alike[index] for index in earlier)
        return [f"cosine {cosine} or more to an earlier row" if is_alike else None for is_alike in alike]

    return step


def contaminated(held_out: Sequence[Row], embed: Embed | None, cosine: float | None) -> Step:
    """A step that drops rows which ask what a held-out row asks, quote it, or nearly do."""
    asked = {_asked(row) for row in held_out}
    quotes = sorted({text for row in held_out if len(text := normal(subject(row))) >= MIN_QUOTE_CHARS})

    def step(rows: Sequence[Row]) -> list[str | None]:
        near = [False] * len(rows)
        if embed is not None and cosine is not None and held_out and rows:
            mine = unit(embed([subject(row) for row in rows]))
            theirs = unit(embed([subject(row) for row in held_out]))
            near = [bool(found) for found in (mine @ theirs.T >= cosine).any(axis=1)]
        reasons: list[str | None] = []
        for row, is_near in zip(rows, near, strict=True):
            text = _asked(row)
            if text in asked:
                reasons.append("asks what a held-out row asks")
            elif any(quote in text for quote in quotes):
                reasons.append("quotes a held-out row")
            else:
                reasons.append(f"cosine {cosine} or more to a held-out row" if is_near else None)
        return reasons

    return step


def subject(row: Row) -> str:
    """What near duplicates are looked for in."""
    return row.content or row.prompt


def unit(vectors: Any) -> Any:
    """Vectors of length 1, so that their products are cosines; a vector of zeros stays one.

    Args:
        vectors: float array of shape (rows, d).
    """
    array = np.asarray(vectors, dtype=np.float32)
    return array / np.maximum(np.linalg.norm(array, axis=-1, keepdims=True), 1e-12)

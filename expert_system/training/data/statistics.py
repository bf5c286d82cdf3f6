"""What a part of a data set is made of, in numbers.

rows -> counts, lengths, tags, wordings, cost -> one plain object
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from expert_system.training.data.row import Row

QUANTILES = {"min": 0.0, "median": 0.5, "p95": 0.95, "max": 1.0}
MAX_TAG_VALUES = 20
"""A tag with more values is told by their number alone."""


def statistics(rows: Sequence[Row]) -> dict[str, Any]:
    """Describe a part.

    Args:
        rows: at least one.
    """
    tags: dict[str, Counter[str]] = {}
    for row in rows:
        for tag in row.tags:
            name, _, value = tag.partition(":")
            tags.setdefault(name, Counter())[value] += 1
    return {
        "rows": len(rows),
        "templates": len({row.template for row in rows}),
        "answers": len({row.answer for row in rows}),
        "preference_pairs": sum(row.rejected is not None for row in rows),
        "with_schema": sum(row.schema is not None for row in rows),
        "checks": dict(sorted(Counter(str(row.check["kind"]) for row in rows if row.check is not None).items())),
        "prompt_chars": _lengths([sum(len(turn["content"]) for turn in row.messages) for row in rows]),
        "answer_chars": _lengths([len(row.answer) for row in rows]),
        "tags": {
            name: dict(values.most_common()) if len(values) <= MAX_TAG_VALUES else f"{len(values)} values"
            for name, values in sorted(tags.items())
        },
        "cost": round(sum(float(row.provenance.get("cost", 0)) for row in rows), 6),
    }


def _lengths(lengths: Sequence[int]) -> dict[str, int]:
    return {name: int(np.quantile(lengths, at, method="nearest")) for name, at in QUANTILES.items()}

"""Which rows go into which part, and in what mix.

    rows -> by template -> train, validation, test;   rows -> by difficulty -> as many as are wanted

Promise: a template is in one part only, and the same rows and seed give the same parts.
"""

from __future__ import annotations

import math
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from expert_system.errors import ConfigError
from expert_system.training.data.duplicates import normal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from expert_system.training.data.row import Row

DIFFICULTY = "difficulty"


def split_by_template(rows: Sequence[Row], shares: Mapping[str, float], seed: int) -> dict[str, tuple[Row, ...]]:
    """Give whole templates to parts until each has its share, or as near as whole templates come.

    Args:
        rows: all of them.
        shares: part to its share of the rows; the first part takes what is left over.
        seed: shuffles the templates.

    Raises:
        ConfigError: there are fewer templates than parts.
    """
    sizes = Counter(row.template for row in rows)
    if len(sizes) < len(shares):
        raise ConfigError(
            f"{len(sizes)} templates cannot be split into {len(shares)} parts without a leak; "
            f"give rows a template, such as their topic or source (`--template-column`)"
        )
    order = sorted(sizes)
    Random(f"{seed}/split").shuffle(order)
    total = sum(shares.values())
    room = {part: len(rows) * share / total for part, share in shares.items()}
    part_of: dict[str, str] = {}
    # Largest first: a big template fits while there is room, and small ones even out the rest.
    for place, template in enumerate(sorted(order, key=lambda name: -sizes[name])):
        empty = [part for part in shares if part not in part_of.values()]
        left = len(order) - place
        choices = empty if left <= len(empty) else list(shares)
        part = max(choices, key=lambda name: room[name])
        part_of[template] = part
        room[part] -= sizes[template]
    return {part: tuple(row for row in rows if part_of[row.template] == part) for part in shares}


def leaks(parts: Mapping[str, Sequence[Row]]) -> list[str]:
    """Templates and prompts that stand in two parts, each as a sentence; none is how it should be."""
    found: list[str] = []
    templates: dict[str, str] = {}
    prompts: dict[str, str] = {}
    for name, rows in parts.items():
        for template in dict.fromkeys(row.template for row in rows):
            first = templates.setdefault(template, name)
            if first != name:
                found.append(f"the template {template!r} is in {first} and {name}")
        for prompt in dict.fromkeys(normal(row.prompt) for row in rows):
            first = prompts.setdefault(prompt, name)
            if first != name:
                found.append(f"the prompt {prompt[:80]!r} is in {first} and {name}")
    return found


def mix(rows: Sequence[Row], shares: Mapping[str, float], count: int) -> tuple[Row, ...]:
    """The first rows of each difficulty in proportion to its share, `count` in all, in their old order.

    Where a difficulty has too few rows, the others fill up; `difficulties` shows what came out.
    """
    if not shares or len(rows) <= count:
        return tuple(rows[:count])
    total = sum(shares.values())
    exact = {name: count * share / total for name, share in shares.items()}
    quota = {name: math.floor(value) for name, value in exact.items()}
    by_rest = sorted(exact, key=lambda name: quota[name] - exact[name])
    for name in by_rest[: count - sum(quota.values())]:
        quota[name] += 1
    chosen: set[int] = set()
    for index, row in enumerate(rows):
        difficulty = row.tag(DIFFICULTY) or ""
        if quota.get(difficulty, 0) > 0:
            quota[difficulty] -= 1
            chosen.add(index)
    for index in range(len(rows)):
        if len(chosen) == count:
            break
        chosen.add(index)
    return tuple(rows[index] for index in sorted(chosen))


def difficulties(rows: Sequence[Row]) -> dict[str, int]:
    """How many rows there are of each difficulty."""
    return dict(sorted(Counter(row.tag(DIFFICULTY) or "" for row in rows).items()))

"""What rows a question is about: one or two conditions, in words and in SQL.

    table + wordings + random numbers -> Conditions(text, where, connector)

Promise: every value a condition names stands in the table, so that "above" and "at least" never mean the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from expert_system.training.programs.sources import ARTICLE, fill, with_article
from expert_system.training.programs.sql_tables import Column, Kind, Table, Value, quote

if TYPE_CHECKING:
    from random import Random

SIGNS = {"gt": ">", "lt": "<", "ge": ">=", "le": "<=", "same": "=", "is": "=", "not": "!=", "after": ">", "before": "<"}
TWO_SHARE = 0.22
"""Share of questions with conditions that have two of them."""
OR_SHARE = 0.3
COMPARED_SHARE = 0.35
"""Share of questions whose first condition is on a number or date where the table has one, whatever else it has."""
QUOTED_SHARE = 0.3
"""Share of texts that a question puts in quotation marks."""
MIN_ENDING = 3
"""Letters of a text that a condition on its start or end names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Words to put behind the rows' name, and what they mean."""

    text: str = ""
    where: tuple[str, ...] = ()
    connector: str = "AND"
    kinds: tuple[str, ...] = ()


def draw_conditions(table: Table, wordings: Mapping[str, Sequence[str]], rng: Random) -> Conditions:
    """Draw one or two conditions on columns that differ."""
    wanted = 2 if rng.random() < TWO_SHARE else 1
    columns = rng.sample(table.columns, len(table.columns))
    if rng.random() < COMPARED_SHARE:
        columns.sort(key=lambda column: not column.ordered)
    drawn = [_draw(column, table, wordings, rng) for column in columns[:wanted]]
    connector = "OR" if len(drawn) > 1 and rng.random() < OR_SHARE else "AND"
    word = rng.choice(wordings[connector.lower()])
    return Conditions(
        text=f" {word}".join(text for _, text, _ in drawn),
        where=tuple(sql for _, _, sql in drawn),
        connector=connector,
        kinds=tuple(kind for kind, _, _ in drawn),
    )


def say(value: Value, rng: Random) -> str:
    """A value as a question gives it."""
    return f'"{value}"' if isinstance(value, str) and rng.random() < QUOTED_SHARE else str(value)


def _draw(column: Column, table: Table, wordings: Mapping[str, Sequence[str]], rng: Random) -> tuple[str, str, str]:
    """Kind, words and SQL of one condition."""
    values = table.values(column)
    kind = _kind(column, rng)
    low, high = sorted(rng.sample(range(len(values)), 2)) if len(values) > 1 else (0, 0)
    value: Any = values[rng.choice((low, high))]
    slots = {"a": ARTICLE, "col": column.phrase}
    match kind:
        case "between":
            sql = f"{column.name} BETWEEN {quote(values[low])} AND {quote(values[high])}"
            slots |= {"v": str(values[low]), "w": str(values[high])}
        case "starts" | "ends" | "contains":
            piece, pattern = _piece(str(value), kind, rng)
            sql = f"{column.name} LIKE {quote(pattern)}"
            slots |= {"v": say(piece, rng)}
        case _:
            sql = f"{column.name} {SIGNS[kind]} {quote(value)}"
            slots |= {"v": str(value) if column.ordered else say(value, rng)}
    return kind, with_article(fill(rng.choice(wordings[kind]), slots)), sql


def _kind(column: Column, rng: Random) -> str:
    match column.kind:
        case Kind.NUMBER:
            return rng.choices(("gt", "lt", "ge", "le", "same", "between"), weights=(5, 5, 3, 3, 2, 4))[0]
        case Kind.DATE:
            return rng.choices(("after", "before", "between"), weights=(4, 4, 2))[0]
        case Kind.TEXT:
            return rng.choices(("is", "starts", "ends", "contains"), weights=(3, 2, 1, 3))[0]
        case Kind.PLACE | Kind.CHOICE:
            return rng.choices(("is", "not"), weights=(7, 2))[0]


def _piece(value: str, kind: str, rng: Random) -> tuple[str, str]:
    """A part of a text, and the pattern that finds it."""
    words = value.split()
    if kind == "contains":
        word = rng.choice(words)
        return word, f"%{word}%"
    if kind == "starts":
        start = rng.choice((value[0], value[:2], words[0]))
        return start, f"{start}%"
    end = words[-1] if len(words) > 1 else value[-MIN_ENDING:]
    return end, f"%{end}"

"""Small databases for questions: drawn tables, their schema text, and rows that SQLite can hold.

    domain -> Database(child, parent, columns) -> schema text, CREATE statements, rows

Promise: values of a number, date or text column differ from row to row, so that an order is never a tie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from random import Random

    from expert_system.training.grammar import Grammar

CHILD_ROWS = (7, 11)
PARENT_ROWS = (3, 5)
"""Fewest and most rows of a table."""
COLUMNS = (2, 4)
"""Fewest and most columns besides the keys."""
BOTH_TABLES_SHARE = 0.4
"""How often the schema shows the parent table though the question does not need it."""
MAX_DRAWS = 60

Value: TypeAlias = str | int | float


class Kind(StrEnum):
    """What a column holds."""

    TEXT = "text"  # a name of its own for every row
    PLACE = "place"  # a text that rows may share
    CHOICE = "choice"  # one of a few words
    NUMBER = "number"
    DATE = "date"  # year-month-day


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table."""

    name: str
    kind: Kind
    values: tuple[str, ...]
    """Pattern of the grammar, or the words of a choice."""

    @property
    def phrase(self) -> str:
        """As a question says it."""
        return self.name.replace("_", " ")

    @property
    def ordered(self) -> bool:
        """Whether values can be compared."""
        return self.kind in {Kind.NUMBER, Kind.DATE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with its rows."""

    name: str
    one: str
    """Name of one row, such as "product"."""
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Value], ...]
    parent: str = ""
    """What a row belongs to, such as "supplier"; its key is "supplier_id"."""

    @property
    def header(self) -> tuple[str, ...]:
        """All columns, keys too, in the table's order."""
        key = (f"{self.parent}_id",) if self.parent else ()
        return ("id", *(column.name for column in self.columns), *key)

    def values(self, column: Column) -> list[Any]:
        """What the rows hold, in order of size, each value once."""
        return sorted({row[column.name] for row in self.rows})

    def of_kind(self, *kinds: Kind) -> list[Column]:
        """The columns of these kinds."""
        return [column for column in self.columns if column.kind in kinds]


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """One or two tables; when two, rows of the child belong to rows of the parent."""

    child: Table
    parent: Table | None
    superlatives: Mapping[str, tuple[str, str]]
    """Column -> how the highest and the lowest is called, such as "oldest"; for dates the highest is the latest."""

    def schema(self, *, parent_first: bool) -> str:
        """The schema as a request gives it."""
        texts = [f"{table.name}({', '.join(table.header)})" for table in self._tables()]
        return "; ".join(texts if parent_first else reversed(texts))

    def create(self) -> str:
        """SQL statements that make the tables."""
        return "\n".join(_create(table) for table in self._tables())

    def rows(self) -> dict[str, list[list[Value]]]:
        """Table -> its rows, values in the order of its columns."""
        return {table.name: [[row[name] for name in table.header] for row in table.rows] for table in self._tables()}

    def _tables(self) -> list[Table]:
        return [self.child] if self.parent is None else [self.parent, self.child]


def draw_database(domain: Mapping[str, Any], grammar: Grammar, rng: Random, *, joined: bool) -> Database:
    """Choose columns and write rows.

    Args:
        domain: one entry of a part's "schemas".
        grammar: the values.
        rng: decides everything.
        joined: the question needs both tables.
    """
    has_parent = joined or rng.random() < BOTH_TABLES_SHARE
    parent_columns = _choose(domain["parent_columns"], rng)
    parent_rows = _rows(parent_columns, rng.randint(*PARENT_ROWS), grammar, rng)
    parent = Table(name=domain["parent"], one=domain["parent_one"], columns=parent_columns, rows=parent_rows)
    columns = _choose(domain["columns"], rng)
    rows = _rows(columns, rng.randint(*CHILD_ROWS), grammar, rng)
    if has_parent:
        key = f"{parent.one}_id"
        rows = tuple({**row, key: rng.randint(1, len(parent_rows))} for row in rows)
    child = Table(
        name=domain["child"], one=domain["one"], columns=columns, rows=rows, parent=parent.one if has_parent else ""
    )
    superlatives = {name: (words[0], words[1]) for name, words in domain.get("super", {}).items()}
    return Database(child=child, parent=parent if has_parent else None, superlatives=superlatives)


def quote(value: Value) -> str:
    """Write a value as SQL does."""
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def _choose(columns: Mapping[str, str], rng: Random) -> tuple[Column, ...]:
    """The first column and some of the others, in the domain's order."""
    names = list(columns)
    wanted = min(len(names), rng.randint(*COLUMNS))
    kept = {names[0], *rng.sample(names[1:], wanted - 1)}
    return tuple(_column(name, columns[name]) for name in names if name in kept)


def _column(name: str, written: str) -> Column:
    kind, _, pattern = written.partition(" ")
    values = tuple(pattern.split("|")) if kind == Kind.CHOICE else (pattern or "{date}",)
    return Column(name=name, kind=Kind(kind), values=values)


def _rows(columns: tuple[Column, ...], count: int, grammar: Grammar, rng: Random) -> tuple[Mapping[str, Value], ...]:
    drawn = {column.name: _values(column, count, grammar, rng) for column in columns}
    return tuple({"id": row + 1, **{name: values[row] for name, values in drawn.items()}} for row in range(count))


def _values(column: Column, count: int, grammar: Grammar, rng: Random) -> list[Value]:
    if column.kind is Kind.CHOICE:
        return [rng.choice(column.values) for _ in range(count)]
    shared = column.kind is Kind.PLACE
    pool: dict[Value, None] = {}
    for _ in range(MAX_DRAWS):
        if len(pool) == (max(2, count // 2) if shared else count):
            break
        text = grammar.expand(column.values[0], rng)
        pool[_number(text) if column.kind is Kind.NUMBER else text] = None
    values = list(pool)
    return [rng.choice(values) for _ in range(count)] if shared or len(values) < count else values


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def _create(table: Table) -> str:
    types = {column.name: "TEXT" for column in table.columns}
    for column in table.of_kind(Kind.NUMBER):
        whole = all(isinstance(row[column.name], int) for row in table.rows)
        types[column.name] = "INTEGER" if whole else "REAL"
    columns = ", ".join(f"{name} {types.get(name, 'INTEGER')}" for name in table.header)
    return f"CREATE TABLE {table.name} ({columns});"

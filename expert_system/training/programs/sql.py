"""Questions on small databases and the SQLite query that answers each: the program behind expert-sql.

    domain -> tables with rows -> shape (words and query) -> Row with an executable check

Promise: a question has one canonical query; its result is never empty and changes when a clause is left out.

The canonical form: a question that names no column asks for `*`; a join starts at the table whose rows belong to the
other's; columns are qualified in joins only; a higher-first order is DESC, a lower-first order has no word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from expert_system.training.programs.sources import ARTICLE, Source, fill, open_source, with_article
from expert_system.training.programs.sql_conditions import Conditions, draw_conditions, say
from expert_system.training.programs.sql_query import Query, tells_apart
from expert_system.training.programs.sql_tables import Column, Database, Kind, Table, draw_database, quote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

    from expert_system.training.data.row import Row
    from expert_system.training.dataset_recipe import ProgramRecipe

LIMITS = (2, 3, 4, 5)
TEXTUAL = (Kind.TEXT, Kind.PLACE, Kind.CHOICE)
GROUPING = (Kind.CHOICE, Kind.PLACE)
NONE = Conditions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A wording's name with what its slots stand for, and the query."""

    head: str
    query: Query
    slots: Mapping[str, str]
    conditions: Conditions = NONE


class Sql:
    """Writes questions with their queries."""

    def generate(self, section: ProgramRecipe, folder: Path, part: str) -> Iterator[Row]:
        """Write without end; what repeats is for the caller to leave out."""
        source = open_source(section, folder, part)
        while True:
            row = _row(source)
            if row is not None:
                yield row


def _row(source: Source) -> Row | None:
    """One question, or None when the drawn tables cannot carry it."""
    rng, data = source.rng, source.data
    shape = rng.choices(list(_SHAPES), weights=[weight for _, weight in _SHAPES.values()])[0]
    domain = rng.choice(data["schemas"])
    joined = shape.startswith("join")
    database = draw_database(domain, source.grammar, rng, joined=joined)
    asked = _SHAPES[shape][0](database, data["conditions"], rng)
    if asked is None:
        return None
    create, rows = database.create(), database.rows()
    if not tells_apart(asked.query, create, rows):
        return None
    slots = {"many": database.child.name, "one": database.child.one, "a": ARTICLE, "if": asked.conditions.text}
    question = with_article(fill(rng.choice(data["heads"][asked.head]), {**slots, **asked.slots}))
    tags = [f"shape:{shape}", f"domain:{domain['child']}"]
    tags += [f"condition:{kind}" for kind in asked.conditions.kinds]
    return source.row(
        {"schema": database.schema(parent_first=rng.random() < 0.5), "question": question},
        asked.query.sql(),
        template=domain["child"],
        tags=tags,
        check={"kind": "sql", "schema": create, "rows": rows},
    )


def _some(table: Table, wordings: Mapping[str, Sequence[str]], share: float, rng: Random) -> Conditions:
    return draw_conditions(table, wordings, rng) if rng.random() < share else NONE


def _query(select: str, table: Table, conditions: Conditions, *, order: str = "", limit: int = 0) -> Query:
    return Query(
        select=select,
        table=table.name,
        where=conditions.where,
        connector=conditions.connector,
        order=order,
        limit=limit,
    )


def _listed(columns: Sequence[Column]) -> str:
    phrases = [column.phrase for column in columns]
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def _rows(database: Database, wordings: Mapping[str, Sequence[str]], rng: Random) -> Asked:
    found = _some(database.child, wordings, 0.9, rng)
    return Asked(head="rows", query=_query("*", database.child, found), slots={}, conditions=found)


def _columns(database: Database, wordings: Mapping[str, Sequence[str]], rng: Random) -> Asked:
    found = _some(database.child, wordings, 0.6, rng)
    chosen = rng.sample(database.child.columns, min(rng.choice((1, 2, 2, 3)), len(database.child.columns)))
    query = _query(", ".join(column.name for column in chosen), database.child, found)
    return Asked(head="columns", query=query, slots={"cols": _listed(chosen)}, conditions=found)


def _count(database: Database, wordings: Mapping[str, Sequence[str]], rng: Random) -> Asked:
    found = _some(database.child, wordings, 0.8, rng)
    return Asked(head="count", query=_query("COUNT(*)", database.child, found), slots={}, conditions=found)


def _aggregate(database: Database, wordings: Mapping[str, Sequence[str]], rng: Random) -> Asked | None:
    numbers = database.child.of_kind(Kind.NUMBER)
    if not numbers:
        return None
    column = rng.choice(numbers)
    found = _some(database.child, wordings, 0.35, rng)
    head, function = rng.choice((("average", "AVG"), ("total", "SUM"), ("highest", "MAX"), ("lowest", "MIN")))
    query = _query(f"{function}({column.name})", database.child, found)
    return Asked(head=head, query=query, slots={"col": column.phrase}, conditions=found)


def _distinct(database: Database, wordings: Mapping[str, Sequence[str]], rng: Random) -> Asked | None:
    shared = database.child.of_kind(*GROUPING)
    if not shared:
        return None
    column = rng.choice(shared)
    query = Query(select=column.name, table=database.child.name, distinct=True)
    return Asked(head="distinct", query=query, slots={"col": column.phrase})


def _order(database: Database, wordings: Mapping[str, Sequence[str]], rng: Random) -> Asked | None:
    sortable = database.child.of_kind(Kind.NUMBER, Kind.DATE, Kind.TEXT)
    column = rng.choice(sortable)
    found = _some(database.child, wordings, 0.2, rng)
    falls = column.kind is not Kind.TEXT and rng.random() < 0.5
    match column.kind:
        case Kind.NUMBER:
            head = "down" if falls else "up"
        case Kind.DATE:
            head = "newest" if falls else "oldest"
        case _:
            head = "alphabetical"
    query = _query("*", database.child, found, order=column.name + (" DESC" if falls else ""))
    return Asked(head=head, query=query, slots={"col": column.phrase}, conditions=found)


def _top(database: Database, wordings: Mapping[str, Sequence[str]], rng: Random) -> Asked | None:
    numbers = database.child.of_kind(Kind.NUMBER)
    if not numbers:
        return None
    column = rng.choice(numbers)
    found = _some(database.child, wordings, 0.2, rng)
    falls, limit = rng.random() < 0.6, rng.choice((1, *LIMITS))
    head = ("first" if falls else "last") if limit == 1 else ("top" if falls else "bottom")
    query = _query("*", database.child, found, order=column.name + (" DESC" if falls else ""), limit=limit)
    return Asked(head=head, query=query, slots={"col": column.phrase, "n": str(limit)}, conditions=found)


def _superlative(database: Database, wordings: Mapping[str, Sequence[str]], rng: Random) -> Asked | None:
    known = [column for column in database.child.columns if column.name in database.superlatives]
    if not known:
        return None
    column = rng.choice(known)
    falls, limit = rng.random() < 0.6, rng.choice(LIMITS)
    order = column.name + (" DESC" if falls else "")
    word = database.superlatives[column.name][0 if falls else 1]
    query = _query("*", database.child, NONE, order=order, limit=limit)
    return Asked(head="most", query=query, slots={"super": word, "n": str(limit)})


def _by(database: Database, wordings: Mapping[str, Sequence[str]], rng: Random) -> Asked | None:
    groups, numbers = database.child.of_kind(*GROUPING), database.child.of_kind(Kind.NUMBER)
    choices = [("count_by", "COUNT(*)")] * 2
    if numbers:
        choices += [("average_by", "AVG({})"), ("total_by", "SUM({})")]
    if not groups:
        return None
    group, (head, function) = rng.choice(groups), rng.choice(choices)
    column = rng.choice(numbers) if numbers else group
    query = Query(select=f"{group.name}, {function.format(column.name)}", table=database.child.name, group=group.name)
    return Asked(head=head, query=query, slots={"by": group.phrase, "col": column.phrase})


def _joined(database: Database, select: str, parent: Table, where: tuple[str, ...] = (), group: str = "") -> Query:
    join = f"{parent.name} ON {database.child.name}.{parent.one}_id = {parent.name}.id"
    return Query(select=select, table=database.child.name, join=join, where=where, group=group)


def _join_columns(database: Database, wordings: Mapping[str, Sequence[str]], rng: Random) -> Asked:
    parent, column, other = _pair(database, rng)
    select = f"{database.child.name}.{column.name}, {parent.name}.{other.name}"
    slots = {"col": column.phrase, "pcol": other.phrase, "parent": parent.one}
    return Asked(head="join_columns", query=_joined(database, select, parent), slots=slots)


def _join_where(database: Database, wordings: Mapping[str, Sequence[str]], rng: Random) -> Asked:
    parent, column, _ = _pair(database, rng)
    other = rng.choice(parent.of_kind(*TEXTUAL, Kind.NUMBER))
    value = rng.choice(parent.values(other))
    compared = other.kind is Kind.NUMBER
    where = f"{parent.name}.{other.name} {'>' if compared else '='} {quote(value)}"
    query = _joined(database, f"{database.child.name}.{column.name}", parent, (where,))
    slots = {"col": column.phrase, "pcol": other.phrase, "parent": parent.one, "value": say(value, rng)}
    return Asked(head="join_compare" if compared else "join_where", query=query, slots=slots)


def _join_count(database: Database, wordings: Mapping[str, Sequence[str]], rng: Random) -> Asked:
    parent, _, _ = _pair(database, rng)
    other = rng.choice(parent.of_kind(*TEXTUAL))
    name = f"{parent.name}.{other.name}"
    query = _joined(database, f"{name}, COUNT(*)", parent, group=name)
    return Asked(head="join_count", query=query, slots={"pcol": other.phrase, "parent": parent.one})


def _pair(database: Database, rng: Random) -> tuple[Table, Column, Column]:
    """The parent table, a column of the child and one of the parent."""
    if database.parent is None:
        raise ValueError("a join needs both tables")
    return database.parent, rng.choice(database.child.columns), rng.choice(database.parent.columns)


_Shape = Callable[["Database", "Mapping[str, Sequence[str]]", "Random"], "Asked | None"]
_SHAPES: dict[str, tuple[_Shape, int]] = {
    "rows": (_rows, 14),
    "columns": (_columns, 14),
    "count": (_count, 10),
    "aggregate": (_aggregate, 12),
    "distinct": (_distinct, 4),
    "order": (_order, 9),
    "top": (_top, 10),
    "superlative": (_superlative, 5),
    "group": (_by, 10),
    "join_columns": (_join_columns, 8),
    "join_where": (_join_where, 9),
    "join_count": (_join_count, 6),
}
"""Name -> how it is asked and answered, and how often it is tried."""

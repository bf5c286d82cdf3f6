"""One canonical way to write each query, and proof that its answer depends on every clause.

    Query -> SQL text; Query + tables -> result rows; Query -> weaker queries

Promise: a query that `tells_apart` has a result that changes when any of its clauses is left out.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A SELECT statement in parts."""

    select: str
    table: str
    distinct: bool = False
    join: str = ""
    where: tuple[str, ...] = ()
    connector: str = "AND"
    group: str = ""
    order: str = ""
    limit: int = 0

    def sql(self) -> str:
        """The statement, without a semicolon."""
        parts = [f"SELECT {'DISTINCT ' if self.distinct else ''}{self.select} FROM {self.table}"]  # noqa: S608 - our own words only
        if self.join:
            parts.append(f"JOIN {self.join}")
        if self.where:
            parts.append("WHERE " + f" {self.connector} ".join(self.where))
        if self.group:
            parts.append(f"GROUP BY {self.group}")
        if self.order:
            parts.append(f"ORDER BY {self.order}")
        if self.limit:
            parts.append(f"LIMIT {self.limit}")
        return " ".join(parts)

    def weaker(self) -> list[Query]:
        """The query with one thing left out or turned round, once for each."""
        fewer = [replace(self, where=self.where[:at] + self.where[at + 1 :]) for at in range(len(self.where))]
        if len(self.where) > 1:
            fewer.append(replace(self, connector="OR" if self.connector == "AND" else "AND"))
        if self.order:
            turned = self.order.removesuffix(" DESC") if self.order.endswith(" DESC") else f"{self.order} DESC"
            fewer += [replace(self, order=""), replace(self, order=turned)]
        if self.limit:
            fewer.append(replace(self, limit=0))
        if self.distinct:
            fewer.append(replace(self, distinct=False))
        return fewer


def tells_apart(query: Query, create: str, rows: Mapping[str, Sequence[Sequence[object]]]) -> bool:
    """Whether the query answers something, and each weaker query answers something else.

    Args:
        query: what is asked.
        create: statements that make the tables.
        rows: table -> its rows.
    """
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(create)
        for table, values in rows.items():
            places = ", ".join("?" * len(values[0]))
            connection.executemany(f"INSERT INTO {table} VALUES ({places})", values)  # noqa: S608 - our own words only

        def run(asked: Query) -> list[tuple[object, ...]]:
            return connection.execute(asked.sql()).fetchall()

        expected = run(query)
        if not expected or all(value in (None, 0) for row in expected for value in row):
            return False
        for other in query.weaker():
            answered = run(other)
            if answered == expected or (not query.order and Counter(answered) == Counter(expected)):
                return False
    return True

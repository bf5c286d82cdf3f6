"""Run the answer on SQLite and compare what it returns with what the reference returns.

    data {schema, rows} -> database in memory -> reference and answer, read only -> rows -> equal?

Measures: runs, same_result (decides), same_result_anywhere. The case's data: {"schema": "CREATE TABLE ...", "rows":
{"table": [[...], ...]}}; its `answer` is the reference query.
Promise: a query reads and nothing else, and ends within CPU_LIMIT_S; rows are compared in order only when the
reference orders them.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

from expert_system.errors import PackageError
from expert_system.training.checkers.bare import first_statement
from expert_system.training.checkers.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from expert_system.training.cases import Case

CPU_LIMIT_S = 2.0
"""Processor time of one query; a busy machine does not change a verdict."""
MAX_ROWS = 10_000
MAX_SQL_BYTES = 100_000
MAX_VALUE_BYTES = 1_000_000
"""Of one text or blob, so that no single function call takes long."""
OPERATIONS_BETWEEN_LOOKS = 10_000
"""How many of SQLite's steps run between two looks at the clock."""
STARTS = ("SELECT", "WITH")
SIGNIFICANT_DIGITS = 9
"""Sums of the same numbers in another order differ after these."""

_BUILD = {
    sqlite3.SQLITE_CREATE_TABLE,
    sqlite3.SQLITE_CREATE_INDEX,
    sqlite3.SQLITE_REINDEX,
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_UPDATE,  # of sqlite_master, by CREATE
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_TRANSACTION,
}
_READ = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_TOP_LEVEL = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/|[()]|\border\s+by\b", re.I | re.S)

Rows = list[tuple[Any, ...]]


def check(case: Case, answer: str) -> Verdict:
    """Judge an answer that has to be one bare query.

    `same_result_anywhere` asks the same of the first query that stands among other words.

    Raises:
        PackageError: the case's database cannot be made, or its own answer does not run on it.
    """
    with closing(_database(case)) as database:
        try:
            expected = _run(database, case.answer)
        except sqlite3.Error as error:
            raise PackageError(f"the case's own answer does not run: {error}: {case.answer[:80]}") from None
        in_order = ordered(case.answer)
        runs, right, problem = _judged(database, answer, expected, in_order=in_order)
        among = first_statement(answer, STARTS)
        anywhere = right
        if among is not None and among != answer.strip().rstrip(";"):
            anywhere = right or _judged(database, among, expected, in_order=in_order)[1]
    measures = {"runs": float(runs), "same_result": float(right), "same_result_anywhere": float(anywhere)}
    return Verdict(measures=measures, primary="same_result", problem=problem)


def ordered(query: str) -> bool:
    """Whether a query orders its rows: ORDER BY outside parentheses, texts and comments."""
    depth = 0
    for found in _TOP_LEVEL.finditer(query):
        match found[0].lower():
            case "(":
                depth += 1
            case ")":
                depth -= 1
            case text if text.startswith("order") and depth == 0:
                return True
    return False


def _judged(database: sqlite3.Connection, query: str, expected: Rows, *, in_order: bool) -> tuple[bool, bool, str]:
    """Whether a query runs, whether it returns the expected rows, and what is wrong with it."""
    try:
        found = _run(database, query)
    except (sqlite3.Error, sqlite3.Warning) as error:
        return False, False, str(error)
    if equal(found, expected, in_order=in_order):
        return True, True, ""
    return True, False, f"returned {len(found)} rows that are not the {len(expected)} expected ones"


def equal(left: Rows, right: Rows, *, in_order: bool) -> bool:
    """Whether two results are the same: column by column, names aside, numbers by value, order only where it counts."""
    one, other = [_row(row) for row in left], [_row(row) for row in right]
    return one == other if in_order else Counter(one) == Counter(other)


def _row(values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(float(f"{value:.{SIGNIFICANT_DIGITS}g}") if isinstance(value, float) else value for value in values)


def _database(case: Case) -> sqlite3.Connection:
    """A fresh database in memory with the case's tables and rows.

    Raises:
        PackageError: the case's data is not of the form above.
    """
    schema, rows = case.data.get("schema"), case.data.get("rows", {})
    if not isinstance(schema, str) or not isinstance(rows, dict):
        raise PackageError('a case with the check "sql" needs data {"schema": "CREATE TABLE ...", "rows": {...}}')
    database = sqlite3.connect(":memory:", isolation_level=None)
    try:
        _limit(database, _BUILD)
        database.executescript(schema)
        for table, values in rows.items():
            for row in values:
                quoted = str(table).replace('"', '""')
                places = ", ".join("?" * len(row))
                database.execute(f'INSERT INTO "{quoted}" VALUES ({places})', row)  # noqa: S608 - the name is quoted
    except (sqlite3.Error, sqlite3.Warning, TypeError) as error:
        database.close()
        raise PackageError(f"the case's tables cannot be made: {error}") from None
    _limit(database, _READ)
    return database


def _limit(database: sqlite3.Connection, allowed: set[int]) -> None:
    """Let statements do these things only, from now on."""

    def decide(action: int, first: str | None, second: str | None, *_: object) -> int:
        if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() == "load_extension":
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY

    database.set_authorizer(decide)
    database.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
    database.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, MAX_SQL_BYTES)


def _run(database: sqlite3.Connection, query: str) -> Rows:
    """The rows of one query.

    Raises:
        sqlite3.Error: it is not one query that reads, returns too much or takes too long.
    """
    until = time.thread_time() + CPU_LIMIT_S
    database.set_progress_handler(lambda: time.thread_time() > until, OPERATIONS_BETWEEN_LOOKS)
    try:
        with closing(database.execute(query)) as cursor:
            if cursor.description is None:
                raise sqlite3.ProgrammingError("not a query")
            rows: Rows = cursor.fetchmany(MAX_ROWS + 1)
    except (ValueError, UnicodeEncodeError) as error:
        raise sqlite3.ProgrammingError(f"not a query: {error}") from None
    finally:
        database.set_progress_handler(None, 0)
    if len(rows) > MAX_ROWS:
        raise sqlite3.DataError(f"more than {MAX_ROWS} rows")
    return rows

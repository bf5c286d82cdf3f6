"""Queries run on SQLite: results compared, nothing written, nothing reached, nothing waited for."""

from __future__ import annotations

import time
from typing import Any

import pytest

from expert_system.training.cases import Case
from expert_system.training.checkers import sql
from expert_system.training.checkers.sql import check, ordered

DATA: dict[str, Any] = {
    "schema": "CREATE TABLE sales (item TEXT, price REAL, sold INTEGER); CREATE INDEX by_item ON sales (item);",
    "rows": {"sales": [["pen", 0.1, 3], ["pen", 0.2, 1], ["cup", 0.3, 2]]},
}


def case(answer: str) -> Case:
    return Case(messages=({"role": "user", "content": "?"},), answer=answer, check="sql", data=DATA)


def outcome(reference: str, answer: str) -> tuple[float, float, float]:
    measures = check(case(reference), answer).measures
    return measures["runs"], measures["same_result"], measures["same_result_anywhere"]


@pytest.mark.parametrize(
    ("reference", "answer", "right"),
    [
        ("SELECT item FROM sales", "SELECT item AS thing FROM sales ORDER BY item;", True),
        ("SELECT item FROM sales ORDER BY price", "SELECT item FROM sales ORDER BY price DESC", False),
        ("SELECT item FROM sales ORDER BY price", "SELECT item FROM sales ORDER BY price ASC", True),
        ("SELECT DISTINCT item FROM sales", "SELECT item FROM sales", False),
        ("SELECT item, sold FROM sales", "SELECT sold, item FROM sales", False),
        ("SELECT sum(price) FROM sales", "SELECT 0.3 + 0.2 + 0.1", True),
        ("SELECT count(*) FROM sales", "SELECT 3.0", True),
        ("SELECT count(*) FROM sales", "SELECT '3'", False),
        ("SELECT item FROM sales WHERE price > 5", "SELECT item FROM sales WHERE 0", True),
    ],
)
def test_results_are_compared_and_not_texts(reference: str, answer: str, right: bool) -> None:
    """Columns by place, numbers by value, duplicates count, order only where the reference has ORDER BY."""
    assert (1.0, float(right)) == outcome(reference, answer)[:2]


def test_a_right_query_among_other_words_is_counted_apart() -> None:
    """The base answers in prose; that is wrong, but the report can say how often the query in it was right."""
    answer = "Here is the query:\n```sql\nSELECT item FROM sales;\n```\nIt lists the items."

    assert (0.0, 0.0, 1.0) == outcome("SELECT item FROM sales", answer)


@pytest.mark.parametrize(
    "attack",
    [
        "DROP TABLE sales",
        "DELETE FROM sales",
        "UPDATE sales SET price = 0 RETURNING item",
        "CREATE TABLE x (a)",
        "ATTACH 'stolen.db' AS stolen",
        "VACUUM INTO 'stolen.db'",
        "PRAGMA writable_schema = 1",
        "SELECT * FROM pragma_table_info('sales')",
        "SELECT load_extension('evil')",
        "SELECT item FROM sales; DROP TABLE sales",
        "BEGIN",
        "SELECT zeroblob(1000000000)",
        "SELECT item FROM sales WHERE item = ?",
    ],
)
def test_a_query_that_does_more_than_read_is_refused(
    attack: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a model writes is run, so it must not write, reach a file or take much memory."""
    monkeypatch.chdir(tmp_path)

    assert (0.0, 0.0) == outcome("SELECT item FROM sales", attack)[:2]
    assert [] == list(tmp_path.iterdir())


def test_a_query_that_runs_away_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is looked at while SQLite works."""
    monkeypatch.setattr(sql, "CPU_LIMIT_S", 0.2)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"

    started = time.thread_time()
    found = outcome("SELECT item FROM sales", endless)

    assert (0.0, 0.0, 0.0) == found
    assert time.thread_time() - started < 1


def test_a_result_without_end_is_refused() -> None:
    """Rows are bounded."""
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000) SELECT i FROM n"

    assert "more than 10000 rows" == check(case("SELECT item FROM sales"), many).problem


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT a FROM t ORDER BY a", True),
        ("select a from t order\n  by a", True),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a LIMIT 3)", False),
        ("SELECT row_number() OVER (ORDER BY a) FROM t", False),
        ("SELECT 'order by' FROM t -- order by a", False),
        ('SELECT "order by" FROM t /* order by */', False),
    ],
)
def test_only_an_outer_order_by_orders_the_rows(query: str, expected: bool) -> None:
    """Inside parentheses, texts and comments it says nothing of the result's order."""
    assert expected is ordered(query)

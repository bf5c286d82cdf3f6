"""The data of expert-sql: every query runs, says something, and nothing of the test part is in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

from expert_system.training.cases import case_of
from expert_system.training.checkers import check
from expert_system.training.dataset import TEST, TRAIN, VALIDATION, Part
from expert_system.training.programs.sql_query import Query, tells_apart

EXPERT = "expert-sql"
SHARED = {"name"}
"""Columns that may stand in every part, besides the key."""


def names(source: Mapping[str, Any]) -> set[str]:
    """Every table and column of a part."""
    found: set[str] = set()
    for schema in source["schemas"]:
        found |= {schema["child"], schema["parent"], *schema["columns"], *schema["parent_columns"]}
    return found - SHARED


def wordings(source: Mapping[str, Any]) -> set[str]:
    """Every way to ask and every way to name a condition; "and" and "or" aside."""
    heads = {text for texts in source["heads"].values() for text in texts}
    return heads | {text for kind, texts in source["conditions"].items() if kind not in {"and", "or"} for text in texts}


def test_every_reference_answers_its_question(parts_of: Callable[[str], Mapping[str, Part]]) -> None:
    """Each query runs on the tables that come with it and returns something, in all parts."""
    cases = [case_of(row) for part in parts_of(EXPERT).values() for row in part.examples]

    assert [] == [case.answer for case in cases if not check("sql", case, case.answer).right]


def test_parts_share_no_table_no_column_and_no_wording(sources_of: Callable[[str], Mapping[str, Any]]) -> None:
    """README: held-out schemas and questions are new, `id` and `name` aside."""
    sources = sources_of(EXPERT)

    for one, other in combinations((TRAIN, VALIDATION, TEST), 2):
        assert set() == names(sources[one]) & names(sources[other])
        assert set() == wordings(sources[one]) & wordings(sources[other])


def test_every_shape_is_trained_and_held_out(parts_of: Callable[[str], Mapping[str, Part]]) -> None:
    """Twelve shapes of queries, in both parts."""
    shapes = [{row.tag("shape") for row in parts_of(EXPERT)[part].examples} for part in (TRAIN, TEST)]

    assert 12 == len(shapes[0])
    assert shapes[0] == shapes[1]


def test_a_query_whose_condition_changes_nothing_is_refused() -> None:
    """A wrong answer must not return the right rows by chance."""
    create, rows = "CREATE TABLE t (id INTEGER, n INTEGER);", {"t": [[1, 5], [2, 7]]}

    assert tells_apart(Query(select="*", table="t", where=("n > 5",)), create, rows)
    assert not tells_apart(Query(select="*", table="t", where=("n > 1",)), create, rows)
    assert not tells_apart(Query(select="*", table="t", where=("n > 9",)), create, rows)
    assert not tells_apart(Query(select="*", table="t", order="n"), create, rows)
    assert tells_apart(Query(select="*", table="t", order="n DESC", limit=1), create, rows)


def test_a_query_is_written_in_one_way() -> None:
    """The canonical form of the README."""
    query = Query(select="a, b", table="t", where=("a = 1", "b > 2"), connector="OR", order="a DESC", limit=3)

    assert "SELECT a, b FROM t WHERE a = 1 OR b > 2 ORDER BY a DESC LIMIT 3" == query.sql()

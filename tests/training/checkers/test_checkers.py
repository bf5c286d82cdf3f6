"""What every kind of check has in common."""

from __future__ import annotations

from typing import Any

import pytest

from expert_system.errors import PackageError
from expert_system.training.cases import Case
from expert_system.training.checkers import CHECKERS, check

QUESTION = ({"role": "user", "content": "?"},)
EXAMPLES: dict[str, dict[str, Any]] = {
    "json_schema": {"answer": '{"a": 1}', "schema": {"type": "object"}},
    "sql": {"answer": "SELECT a FROM t", "data": {"schema": "CREATE TABLE t (a)", "rows": {"t": [[1]]}}},
    "cypher": {"answer": "MATCH (a:City) RETURN a.name", "data": {"graph": "City(name)"}},
    "regex": {"answer": "[0-9]+", "data": {"matches": ["12"], "rejects": ["x"]}},
    "python": {"answer": "x = 1"},
    "exact": {"answer": "positive"},
    "f1": {"answer": "She goes to school."},
    "language": {"answer": "Where is the next train station?", "data": {"language": "en"}},
}


def test_every_kind_has_an_example_here() -> None:
    """A new check is held to the rules below."""
    assert CHECKERS.keys() == EXAMPLES.keys()


@pytest.mark.parametrize("kind", CHECKERS)
def test_the_right_answer_is_right(kind: str) -> None:
    """A case passes its own check, with every measure at its best."""
    case = Case(messages=QUESTION, check=kind, **EXAMPLES[kind])

    verdict = check(kind, case, case.answer)

    assert (True, "", {1.0}) == (verdict.right, verdict.problem, set(verdict.measures.values()))
    assert verdict.primary in verdict.measures


@pytest.mark.parametrize("kind", CHECKERS)
@pytest.mark.parametrize(
    "answer",
    ["", " \n", "I am sorry.", "\x00", "(" * 20_000, "\N{PILE OF POO}" * 100, "a" * 300_000, "\ud800"],
    ids=["empty", "white space", "prose", "null", "nested", "emoji", "long", "surrogate"],
)
def test_nonsense_is_wrong_and_says_why(kind: str, answer: str) -> None:
    """An answer of a model can be anything; it never raises, and it has the same measures as a right one."""
    case = Case(messages=QUESTION, check=kind, **EXAMPLES[kind])

    verdict = check(kind, case, answer)

    assert check(kind, case, case.answer).measures.keys() == verdict.measures.keys()
    if kind != "language":  # which finds some language in anything
        assert (False, True) == (verdict.right, bool(verdict.problem))


@pytest.mark.parametrize("kind", ["sql", "regex", "language"])
def test_a_case_without_what_its_check_needs_is_refused(kind: str) -> None:
    """The author is told what is missing, and nobody's answer is called wrong for it."""
    with pytest.raises(PackageError, match="needs data"):
        check(kind, Case(messages=QUESTION, answer="x"), "x")


@pytest.mark.parametrize("kind", ["json_schema", "sql", "cypher", "python"])
def test_a_case_that_fails_its_own_check_is_refused(kind: str) -> None:
    """A reference that does not run would make every answer wrong."""
    case = Case(messages=QUESTION, check=kind, **{**EXAMPLES[kind], "answer": "no ("})

    with pytest.raises(PackageError, match="own answer"):
        check(kind, case, "x")


def test_an_unknown_kind_is_refused() -> None:
    """The message lists what there is."""
    with pytest.raises(PackageError, match="json_schema, sql"):
        check("guess", Case(messages=QUESTION, answer="x"), "x")

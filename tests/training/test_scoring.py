"""Verdicts and intervals."""

from __future__ import annotations

from typing import Any

import pytest

from expert_system.training.cases import Case, few_shot
from expert_system.training.scoring import Verdict, interval, judge, same
from expert_system.training.validate import Answers, Held, measure, measures

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "paid": {"type": "boolean"}},
    "required": ["name", "paid"],
}
CASE = Case(
    messages=({"role": "user", "content": "?"},), schema=SCHEMA, answer='{"name": "Ada", "paid": true}', tags=("a:b",)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"name": "Ada", "paid": true}', (True, True, True, True)),
        ('{"paid":true,"name":"Ada"}', (True, True, True, True)),
        ('{"name": "Bob", "paid": true}', (True, True, False, False)),
        ('{"name": "Ada", "paid": 1}', (True, False, False, False)),
        ('{"name": "Ada"}', (True, False, False, False)),
        ('Sure: {"name": "Ada", "paid": true}.', (False, False, False, True)),
        ('{"name": "Ada", "paid": tr', (False, False, False, False)),
        ("", (False, False, False, False)),
        ("[" * 100_000, (False, False, False, False)),
    ],
)
def test_an_answer_is_judged_as_it_stands(text: str, expected: tuple[bool, bool, bool, bool]) -> None:
    """README: the answer is the bare object; nothing is repaired, but a right object amid prose is counted apart."""
    parses, valid, exact, anywhere = expected

    assert Verdict(parses=parses, valid=valid, exact=exact, exact_anywhere=anywhere) == judge(text, CASE)


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (1, 1.0, True),
        (True, 1, False),
        ("1", 1, False),
        ({"a": [1]}, {"a": [1.0]}, True),
        ([1, 2], [2, 1], False),
        (None, 0, False),
    ],
)
def test_values_are_equal_as_json_has_it(left: object, right: object, equal: bool) -> None:
    """Numbers by value, booleans never as numbers, lists in order."""
    assert equal is same(left, right)


def test_an_interval_holds_its_mean_and_narrows_with_examples() -> None:
    """Percentile bootstrap, seeded: the same verdicts give the same interval."""
    few, many = interval([1.0, 0.0] * 20), interval([1.0, 0.0] * 500)

    assert few == interval([1.0, 0.0] * 20)
    assert few.low < few.value < few.high
    assert few.high - few.low > many.high - many.low
    assert (0.5, 0.5) == (few.value, many.value)


def test_all_right_leaves_no_doubt_in_the_interval() -> None:
    """A measure at its end has an interval of one point, which the manifest accepts."""
    assert (1.0, 1.0, 1.0) == (interval([1.0] * 5).low, interval([1.0] * 5).value, interval([1.0] * 5).high)


def test_all_three_are_asked_the_same_questions() -> None:
    """The base gets the plain question, then the question after worked examples; the expert the plain question."""
    asked: list[tuple[str | None, int]] = []

    def ask(conversations: Any, expert: str | None) -> list[str]:
        asked.extend((expert, len(turns)) for turns in conversations)
        return [CASE.answer if expert else "no" for _ in conversations]

    results = measure(Held(cases=(CASE, CASE), shots=(CASE,), sha256="0"), ask, "expert-x")
    exact = next(entry for entry in measures(results) if entry.name == "exact")

    assert [(None, 1), (None, 1), (None, 3), (None, 3), ("expert-x", 1), ("expert-x", 1)] == asked
    assert (0.0, 1.0, 1.0) == (exact.base.value, exact.expert.value, exact.gain.low)


def test_worked_examples_are_earlier_turns_of_the_chat() -> None:
    """Few-shot: question and answer of each example, then the question itself."""
    turns = few_shot(CASE, [CASE])

    assert ["user", "assistant", "user"] == [turn["role"] for turn in turns]
    assert CASE.answer == turns[1]["content"]


def test_a_measure_counts_each_case_once() -> None:
    """Values are 0 or 1, in the cases' order."""
    verdict = Verdict(parses=True, valid=True, exact=False, exact_anywhere=False)

    assert [1.0] == Answers(texts=("x",), verdicts=(verdict,)).values("valid")
    assert [0.0] == Answers(texts=("x",), verdicts=(verdict,)).values("exact")

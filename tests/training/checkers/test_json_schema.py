"""Answers that have to be JSON under a schema."""

from __future__ import annotations

from typing import Any

import pytest

from expert_system.training.cases import Case
from expert_system.training.checkers.json_schema import check, fields_right, same

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "paid": {"type": "boolean"}},
    "required": ["name", "paid"],
}
CASE = Case(messages=({"role": "user", "content": "?"},), schema=SCHEMA, answer='{"name": "Ada", "paid": true}')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"name": "Ada", "paid": true}', (1, 1, 1, 1, 1)),
        ('{"paid":true,"name":"Ada"}', (1, 1, 1, 1, 1)),
        ('{"name": "Bob", "paid": true}', (1, 1, 0, 0, 0.5)),
        ('{"name": "Ada", "paid": 1}', (1, 0, 0, 0, 0.5)),
        ('{"name": "Ada"}', (1, 0, 0, 0, 0.5)),
        ('Sure: {"name": "Ada", "paid": true}.', (0, 0, 0, 1, 0)),
        ('{"name": "Ada", "paid": tr', (0, 0, 0, 0, 0)),
        ("", (0, 0, 0, 0, 0)),
        ("[" * 100_000, (0, 0, 0, 0, 0)),
    ],
)
def test_an_answer_is_judged_as_it_stands(text: str, expected: tuple[float, ...]) -> None:
    """The answer is the bare object; nothing is repaired, but a right object amid prose is counted apart."""
    measures = check(CASE, text).measures

    assert dict(zip(("parses", "valid", "exact", "exact_anywhere", "fields"), expected, strict=True)) == measures


def test_fields_of_both_sides_count_once() -> None:
    """A nested field counts by its path, an array as one, a field that nobody asked for as a wrong one."""
    expected = {"a": {"b": 1, "c": [1, 2]}, "d": None}
    assert 1.0 == fields_right({"d": None, "a": {"c": [1, 2], "b": 1.0}}, expected)
    assert 0.5 == fields_right({"a": {"b": 1, "c": [2, 1]}, "d": None, "e": 5}, expected)
    assert 0.0 == fields_right([], expected)


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

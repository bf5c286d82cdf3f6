"""Patterns, programs, words and languages."""

from __future__ import annotations

from typing import Any

import pytest

from expert_system.training.cases import Case
from expert_system.training.checkers import check, regex

QUESTION = ({"role": "user", "content": "?"},)


def measures(kind: str, expected: str, answer: str, **data: Any) -> dict[str, float]:
    return dict(check(kind, Case(messages=QUESTION, answer=expected, check=kind, data=data), answer).measures)


@pytest.mark.parametrize(
    ("pattern", "compiles", "right"),
    [
        (r"\d{4}-\d{2}", 1.0, 1.0),
        (r"[0-9-]+", 1.0, 1.0),
        (r"\d{4}", 1.0, 0.0),
        (r".*", 1.0, 0.0),
        (r"(\d{4}", 0.0, 0.0),
        (r"a{99999999999}", 0.0, 0.0),
    ],
)
def test_a_pattern_is_tried_on_texts(pattern: str, compiles: float, right: float) -> None:
    """Right means that it matches all it must, as a whole, and nothing that it must not."""
    found = measures("regex", r"\d{4}-\d{2}", pattern, matches=["2026-11", "1999-01"], rejects=["x-y"])

    assert {"compiles": compiles, "right": right} == found


def test_a_pattern_that_runs_away_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catastrophic backtracking holds Python's own lock, so it runs in a process that can be killed."""
    monkeypatch.setattr(regex, "CPU_LIMIT_S", 1)

    found = measures("regex", "x", "(a+)+b", matches=["a" * 40 + "c"])

    assert {"compiles": 1.0, "right": 0.0} == found


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("def f(x):\n  # twice\n  return (x * 2)", (1.0, 1.0)),
        ("def f(y): return y * 2", (1.0, 0.0)),
        ("def f(x) return x * 2", (0.0, 0.0)),
        ('"\\d"', (1.0, 0.0)),
    ],
)
def test_programs_are_compared_without_their_layout(answer: str, expected: tuple[float, float]) -> None:
    """By Python's own parser; the program is never run."""
    assert dict(zip(("parses", "exact"), expected, strict=True)) == measures(
        "python", "def f(x):\n    return x * 2", answer
    )


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("billing", (1.0, 1.0, 1.0)),
        (" billing\n", (1.0, 1.0, 1.0)),
        ("The label is: Billing.", (0.0, 1.0, 2 / 7)),
        ("billings", (0.0, 0.0, 0.0)),
    ],
)
def test_words_are_compared_to_the_letter_anywhere_and_by_share(answer: str, expected: tuple[float, ...]) -> None:
    """`exact` decides; a right label amid prose and the share of words are counted apart."""
    found = measures("exact", "billing", answer)

    assert pytest.approx(dict(zip(("exact", "exact_anywhere", "f1"), expected, strict=True))) == found


def test_f1_counts_words_and_marks_as_often_as_they_stand_there() -> None:
    """2 x shared / (said + expected): 4 of 5 and 5 are shared."""
    assert 0.8 == measures("f1", "She goes to school.", "She go to school.")["f1"]


@pytest.mark.parametrize(
    ("answer", "right"),
    [("The weather is nice today.", 1.0), ("Das Wetter ist heute sehr schön.", 0.0), ("", 0.0)],
)
def test_a_language_is_identified(answer: str, right: float) -> None:
    """By py3langid, among the languages that the case names."""
    assert {"language": right} == measures("language", "x", answer, language="en", among=["de", "fr"])

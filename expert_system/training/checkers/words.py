"""Compare an answer with the right one as text: the same, somewhere within, or how many words they share.

Measures: exact, exact_anywhere, f1. `exact` decides for the kind exact, `f1` for the kind f1.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

from expert_system.training.checkers.verdict import Verdict

if TYPE_CHECKING:
    from expert_system.training.cases import Case

_WORD = re.compile(r"\w+(?:['\N{RIGHT SINGLE QUOTATION MARK}-]\w+)*|[^\w\s]")


def exact(case: Case, answer: str) -> Verdict:
    """Right when the answer is the expected text to the letter, white space around it aside."""
    return _verdict(case, answer, "exact")


def f1(case: Case, answer: str) -> Verdict:
    """As right as the words and marks that both share, each counted as often as it stands there."""
    return _verdict(case, answer, "f1")


def _verdict(case: Case, answer: str, primary: str) -> Verdict:
    said, expected = _normal(answer), _normal(case.answer)
    measures = {
        "exact": float(said == expected),
        "exact_anywhere": float(_stands_in(expected, said)),
        "f1": shared(_words(said), _words(expected)),
    }
    problem = "" if measures[primary] >= 1 else "another text than the expected one"
    return Verdict(measures=measures, primary=primary, problem=problem)


def shared(said: list[str], expected: list[str]) -> float:
    """The F1 score of two bags of words: 2 x shared / (words said + words expected); 1 when both are empty."""
    if not said or not expected:
        return float(said == expected)
    both = sum((Counter(said) & Counter(expected)).values())
    return 2 * both / (len(said) + len(expected))


def _normal(text: str) -> str:
    """The text as Unicode composes it, without white space around it."""
    return unicodedata.normalize("NFC", text).strip()


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _stands_in(expected: str, said: str) -> bool:
    """Whether the expected text stands in the answer as whole words, letter case aside."""
    inner = re.escape(expected.casefold())
    return bool(expected) and re.search(rf"(?<!\w){inner}(?!\w)", said.casefold()) is not None

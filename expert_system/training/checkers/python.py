"""Parse the answer as Python and compare it with the expected program; it is never run.

Measures: parses, exact (decides): the same program, whatever its layout and comments.
"""

from __future__ import annotations

import ast
import warnings
from typing import TYPE_CHECKING

from expert_system.errors import PackageError
from expert_system.training.checkers.verdict import Verdict

if TYPE_CHECKING:
    from expert_system.training.cases import Case

MAX_SOURCE_CHARS = 20_000


def check(case: Case, answer: str) -> Verdict:
    """Judge an answer that has to be bare Python.

    Raises:
        PackageError: the case's own answer does not parse.
    """
    expected = parsed(case.answer)
    if expected is None:
        raise PackageError(f"the case's own answer is not Python: {case.answer[:80]}")
    found = parsed(answer)
    problem = "not Python" if found is None else "" if found == expected else "another program than the expected one"
    measures = {"parses": float(found is not None), "exact": float(found == expected)}
    return Verdict(measures=measures, primary="exact", problem=problem)


def parsed(source: str) -> str | None:
    """The program without layout, or None when it is not one."""
    if len(source) > MAX_SOURCE_CHARS or not source.strip():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a warning about the answer's style is nothing of ours
            return ast.dump(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None

"""Check an answer by running it: one module for each kind of check, imported when it is asked for.

    kind + case + answer -> Verdict

Promise: an answer is judged as it stands, never repaired; checking it cannot hang, leave its sandbox or raise.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from expert_system.errors import PackageError

if TYPE_CHECKING:
    from expert_system.training.cases import Case
    from expert_system.training.checkers.verdict import Verdict

CHECKERS = {
    "json_schema": "json_schema",
    "sql": "sql",
    "cypher": "cypher",
    "regex": "regex",
    "python": "python",
    "exact": "words:exact",
    "f1": "words:f1",
    "language": "language",
}
"""Each kind: its module here, and the function in it where that is not `check`."""

MAX_ANSWER_CHARS = 100_000
"""A longer answer is judged by its beginning; no answer of an evaluation comes near."""


def check(kind: str, case: Case, answer: str) -> Verdict:
    """Judge one answer.

    Args:
        kind: a key of CHECKERS; `case.kind` unless the caller knows better.
        case: the question, a right answer, and what the check needs in `schema` and `data`.
        answer: what was said.

    Raises:
        PackageError: there is no such kind, or the case lacks what its check needs.
        ConfigError: a library that the check needs is not installed.
    """
    if kind not in CHECKERS:
        raise PackageError(f"no check is named {kind!r}; there are {', '.join(CHECKERS)}")
    module, _, function = CHECKERS[kind].partition(":")
    found = import_module(f"{__name__}.{module}")
    verdict: Verdict = getattr(found, function or "check")(case, answer[:MAX_ANSWER_CHARS])
    return verdict

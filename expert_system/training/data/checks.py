"""Is a row whole, is its answer valid, and is it right when it is run?

    rows -> reasons (steps of `sifting`)

Promise: an answer that its own checker would mark down never becomes training data.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jsonschema

from expert_system.errors import PackageError
from expert_system.training.cases import case_of

if TYPE_CHECKING:
    from expert_system.training.data.row import Row

ROLES = frozenset({"system", "user", "assistant"})
MAX_ROW_CHARS = 100_000
"""Of a prompt or an answer; beyond any context that an expert is trained with."""


def whole(rows: Sequence[Row]) -> list[str | None]:
    """A conversation that ends with the user, with words in every turn, and an answer."""
    return [_not_whole(row) for row in rows]


def valid(rows: Sequence[Row]) -> list[str | None]:
    """The answer is JSON and valid against the row's schema, where it has one."""
    return [_not_valid(row) for row in rows]


def executed(rows: Sequence[Row]) -> list[str | None]:
    """The answer passes the row's own check, where it has one, and a rejected answer does not.

    Raises:
        ConfigError: a library that a check needs is not installed.
    """
    return [_not_right(row) for row in rows]


def _not_whole(row: Row) -> str | None:
    if not row.messages or row.messages[-1].get("role") != "user":
        return "the conversation does not end with the user"
    if any(turn.get("role") not in ROLES or not turn.get("content", "").strip() for turn in row.messages):
        return "a turn has no words or an unknown role"
    if not row.answer.strip():
        return "no answer"
    if sum(len(turn["content"]) for turn in row.messages) > MAX_ROW_CHARS or len(row.answer) > MAX_ROW_CHARS:
        return f"longer than {MAX_ROW_CHARS} characters"
    if row.rejected is not None and row.rejected.strip() in {"", row.answer.strip()}:
        return "the rejected answer is empty or the right one"
    return None


def _not_valid(row: Row) -> str | None:
    if row.schema is None:
        return None
    try:
        value = json.loads(row.answer)
    except (ValueError, RecursionError):
        return "the answer is not JSON"
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(row.schema).iter_errors(value))
    return None if error is None else f"not valid against the schema at {error.json_path}"


def _not_right(row: Row) -> str | None:
    if row.check is None:
        return None
    from expert_system.training.checkers import check

    case = case_of(row)
    try:
        verdict = check(case.kind, case, row.answer)
        if not verdict.right:
            return f"the {case.kind} check refuses the answer"
        if row.rejected is not None and check(case.kind, case, row.rejected).right:
            return f"the {case.kind} check accepts the rejected answer"
    except PackageError as error:
        return f"the {case.kind} check cannot run: {error}"
    return None

"""Is the answer JSON, is it valid against the case's schema, and is every value right?

Measures: parses, valid, exact (decides), exact_anywhere, and fields: the share of fields that are exactly right.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema

from expert_system.errors import PackageError
from expert_system.training.checkers.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from expert_system.training.cases import Case


def check(case: Case, answer: str) -> Verdict:
    """Judge an answer that has to be one bare JSON value.

    `exact_anywhere` asks whether the first JSON object in the answer is right, whatever stands around it.

    Raises:
        PackageError: the case's own answer is not JSON.
    """
    try:
        expected = json.loads(case.answer)
    except ValueError:
        raise PackageError(f"the case's own answer is not JSON: {case.answer[:80]}") from None
    anywhere = same(_first_object(answer), expected)
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError) as error:
        told = f"not JSON: {error}"
        return _verdict(parses=False, valid=False, exact=False, anywhere=anywhere, fields=0.0, problem=told)
    problem = _invalid(value, case)
    exact = same(value, expected)
    told = problem or ("" if exact else "a value, a key or a type differs")
    fields = fields_right(value, expected)
    return _verdict(parses=True, valid=not problem, exact=exact, anywhere=anywhere, fields=fields, problem=told)


def _verdict(*, parses: bool, valid: bool, exact: bool, anywhere: bool, fields: float, problem: str) -> Verdict:
    measures = {"parses": parses, "valid": valid, "exact": exact, "exact_anywhere": anywhere, "fields": fields}
    return Verdict(measures={name: float(value) for name, value in measures.items()}, primary="exact", problem=problem)


def _invalid(value: Any, case: Case) -> str:
    """What the schema says against a value; empty when it says nothing, or when there is no schema."""
    if case.schema is None:
        return ""
    try:
        found = next(jsonschema.Draft202012Validator(case.schema).iter_errors(value), None)
    except RecursionError:
        return "nested too deeply"
    return "" if found is None else f"not valid: {found.message[:200]}"


def fields_right(value: Any, expected: Any) -> float:
    """The share of fields, those of either side, that both sides have with the same value; 0 to 1.

    A field is a path of keys to something that is not an object; an array is one field.
    """
    found, wanted = dict(_fields(value)), dict(_fields(expected))
    right = sum(path in found and same(found[path], leaf) for path, leaf in wanted.items())
    return right / len(found.keys() | wanted.keys())


def _fields(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not isinstance(value, dict) or not value:
        yield path, value
        return
    for key, inner in value.items():
        yield from _fields(inner, (*path, key))


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal: numbers by value, true is not 1, the order of keys does not matter."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(same(one, other) for one, other in zip(left, right, strict=True))
    return bool(left == right)


def _first_object(text: str) -> Any:
    start = text.find("{")
    if start < 0:
        return None
    try:
        return json.JSONDecoder().raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        return None

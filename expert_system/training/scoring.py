"""Judge answers: does it parse, is it valid against the schema, is every field right, and how sure is that.

    answer + case -> Verdict; verdicts -> mean with a 95% bootstrap interval

Promise: a verdict never repairs an answer; what is not bare JSON does not parse.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np

from expert_system.package.evidence import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from expert_system.training.cases import Case

RESAMPLES = 10_000
CONFIDENCE = 0.95
SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is true of one answer; each field is a measure of its own."""

    parses: bool
    valid: bool
    exact: bool
    exact_anywhere: bool
    """The first JSON object anywhere in the answer is right, whatever stands around it."""


MEASURES = tuple(Verdict.__slots__)
PRIMARY = "exact"


def judge(text: str, case: Case) -> Verdict:
    """Judge one answer."""
    expected = json.loads(case.answer)
    anywhere = same(_first_object(text), expected)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return Verdict(parses=False, valid=False, exact=False, exact_anywhere=anywhere)
    valid = jsonschema.Draft202012Validator(case.schema).is_valid(value)
    return Verdict(parses=True, valid=valid, exact=same(value, expected), exact_anywhere=anywhere)


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal: numbers by value, true is not 1, the order of keys does not matter."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(same(one, other) for one, other in zip(left, right, strict=True))
    return bool(left == right)


def interval(values: Sequence[float]) -> Interval:
    """The mean of per-case values and its percentile bootstrap interval."""
    data = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(SEED)
    means = data[rng.integers(0, len(data), size=(RESAMPLES, len(data)))].mean(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    value = round(float(data.mean()), 4)
    return Interval(value=value, low=min(value, round(float(low), 4)), high=max(value, round(float(high), 4)))


def _first_object(text: str) -> Any:
    start = text.find("{")
    if start < 0:
        return None
    try:
        return json.JSONDecoder().raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        return None

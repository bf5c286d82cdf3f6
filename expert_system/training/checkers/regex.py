"""Compile the answer as a regular expression and try it on texts that it must match, and on texts it must not.

    pattern + texts -> a Python of its own, killed after CPU_LIMIT_S -> which texts match

Measures: compiles, right (decides). The case's data: {"matches": [...], "rejects": [...]}; a text counts as matched when
the whole of it is.
Promise: a pattern that runs away costs CPU_LIMIT_S and is wrong; it cannot stop the evaluation.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from expert_system.errors import PackageError
from expert_system.training.checkers.verdict import Verdict

if TYPE_CHECKING:
    from expert_system.training.cases import Case

CPU_LIMIT_S = 2
"""Processor time of the whole trial, its Python's start of 0.02 s included; a busy machine does not change a verdict."""
WAITED_S = 120.0
"""By the clock, in case the trial never gets its processor time."""
MEMORY_LIMIT_BYTES = 512 * 1024 * 1024
MAX_PATTERN_CHARS = 2_000

_TRIAL = """
import json, re, resource, sys, warnings
for kind, limit in zip((resource.RLIMIT_CPU, resource.RLIMIT_AS), map(int, sys.argv[1:])):
    resource.setrlimit(kind, (limit, limit))
warnings.simplefilter("ignore")
asked = json.load(sys.stdin)
try:
    pattern = re.compile(asked["pattern"])
except (re.error, RecursionError, OverflowError, MemoryError) as error:
    print(json.dumps({"error": str(error)}))
else:
    print(json.dumps({"matched": [pattern.fullmatch(text) is not None for text in asked["texts"]]}))
"""


def check(case: Case, answer: str) -> Verdict:
    """Judge an answer that has to be one bare pattern; white space around it is left out.

    Raises:
        PackageError: the case has no texts to try it on.
    """
    matches, rejects = case.data.get("matches"), case.data.get("rejects", [])
    if not isinstance(matches, list) or not isinstance(rejects, list) or not matches:
        raise PackageError('a case with the check "regex" needs data {"matches": [...], "rejects": [...]}')
    found, problem = _tried(answer.strip(), [str(text) for text in (*matches, *rejects)])
    if found is None:
        return _verdict(compiles=not problem.startswith("not a pattern"), right=False, problem=problem)
    expected = [True] * len(matches) + [False] * len(rejects)
    wrong = [text for text, hit, wanted in zip((*matches, *rejects), found, expected, strict=True) if hit is not wanted]
    return _verdict(compiles=True, right=not wrong, problem=f"wrong on {wrong[0]!r}" if wrong else "")


def _verdict(*, compiles: bool, right: bool, problem: str) -> Verdict:
    return Verdict(measures={"compiles": float(compiles), "right": float(right)}, primary="right", problem=problem)


def _tried(pattern: str, texts: list[str]) -> tuple[list[bool] | None, str]:
    """Which texts a pattern matches, or why that cannot be said."""
    if not pattern or len(pattern) > MAX_PATTERN_CHARS:
        return None, "not a pattern: empty or too long"
    command = [sys.executable, "-I", "-S", "-c", _TRIAL, str(CPU_LIMIT_S), str(MEMORY_LIMIT_BYTES)]
    asked = json.dumps({"pattern": pattern, "texts": texts})
    try:
        done = subprocess.run(
            command, input=asked, capture_output=True, text=True, timeout=WAITED_S, env={}, check=False
        )
    except subprocess.TimeoutExpired:
        return None, f"had no answer after {WAITED_S:g} s"
    if done.returncode != 0:
        return None, f"took more than {CPU_LIMIT_S} s or {MEMORY_LIMIT_BYTES} bytes"
    told: dict[str, Any] = json.loads(done.stdout)
    if "error" in told:
        return None, f"not a pattern: {told['error']}"
    return told["matched"], ""

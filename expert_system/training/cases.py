"""Test cases of an expert: what is asked, how an answer is checked, and a right answer (docs/EXPERT_FORMAT.md 2.5).

    data set row -> Case <-> one line of tests/cases.jsonl

Promise: a case holds chat messages and plain JSON only, so it runs on any server of any base; unknown keys are refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from expert_system.errors import PackageError

if TYPE_CHECKING:
    from pathlib import Path

    from expert_system.training.data.row import Messages, Row

CASES_FILE = "tests/cases.jsonl"
"""The held-out cases of an expert, in its folder."""
SHOTS_FILE = "tests/shots.jsonl"
"""The worked examples that the base is shown, in the same format; none of them is a case."""
JOINT_FOLDER = "tests/joint"
"""One file for each other expert, named after it: cases that need both."""
MAX_CASES_BYTES = 64 * 1024 * 1024
MAX_CASES = 20_000
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question with a checkable answer."""

    messages: Messages
    answer: str
    """A right answer; where there are several, the check decides and this is one of them."""
    check: str | None = None
    """The kind of check, a name of `checkers.CHECKERS`; without it `kind` decides."""
    schema: Mapping[str, Any] | None = None
    """JSON Schema that the answer has to be valid against."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What the check runs the answer on, such as tables and rows."""
    tags: tuple[str, ...] = ()
    """Categories that a report counts by, such as `family:film`."""

    @property
    def kind(self) -> str:
        """The kind of check: the case's own, else `json_schema` where there is a schema, else `exact`."""
        return self.check or ("json_schema" if self.schema is not None else "exact")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFile:
    """Cases and the digest of the file that holds them."""

    cases: tuple[Case, ...]
    sha256: str


def few_shot(case: Case, shots: Sequence[Case]) -> Messages:
    """The case's question after worked examples, as earlier turns of the chat; a system message stays first."""
    system = tuple(turn for turn in case.messages if turn["role"] == "system")
    turns: list[dict[str, str]] = []
    for shot in shots:
        asked = [turn for turn in shot.messages if turn["role"] != "system"]
        turns += [*asked, {"role": "assistant", "content": shot.answer}]
    return (*system, *turns, *(turn for turn in case.messages if turn["role"] != "system"))


def case_of(row: Row) -> Case:
    """A row of a data set as a case; what its check says besides the kind is the case's data."""
    check = dict(row.check or {})
    kind = check.pop("kind", None)
    return Case(messages=row.messages, answer=row.answer, check=kind, schema=row.schema, data=check, tags=row.tags)


def to_line(case: Case) -> dict[str, Any]:
    """A case as its line holds it; what it does not have is left out."""
    written: dict[str, Any] = {"messages": list(case.messages)}
    for name in ("check", "answer", "schema", "data", "tags"):
        value = getattr(case, name)
        if name == "answer" or value:
            written[name] = list(value) if name == "tags" else value
    return written


def write_cases(cases: Sequence[Case], path: Path) -> None:
    """Write one case a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(to_line(case), ensure_ascii=False) for case in cases)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_cases(path: Path) -> CaseFile:
    """Read a file of cases, bounded.

    Raises:
        PackageError: it cannot be read, holds no case or too many, or a line is no case; the message names the line.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_CASES_BYTES + 1)
    except OSError as error:
        raise PackageError(f"{path}: cannot read the cases: {error.strerror}") from None
    if len(data) > MAX_CASES_BYTES:
        raise PackageError(f"{path}: larger than {MAX_CASES_BYTES} bytes; keep fewer cases")
    try:
        # Not splitlines: a case's text may hold any of the characters that Unicode counts as line ends.
        lines = [line for line in data.decode("utf-8").split("\n") if line.strip()]
    except UnicodeDecodeError:
        raise PackageError(f"{path}: not UTF-8 text") from None
    if not 1 <= len(lines) <= MAX_CASES:
        raise PackageError(f"{path}: holds {len(lines)} cases; between 1 and {MAX_CASES} are needed")
    cases = tuple(_case(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1))
    return CaseFile(cases=cases, sha256=hashlib.sha256(data).hexdigest())


def _case(line: str, where: str) -> Case:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise PackageError(f"{where}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise PackageError(f"{where}: not an object")
    known = [entry.name for entry in fields(Case)]
    for name in found:
        if name not in known:
            raise PackageError(f"{where}: unknown key {name!r}; a case has {', '.join(known)}")
    problem = _problem(found)
    if problem is not None:
        raise PackageError(f"{where}: {problem}")
    return Case(**{**found, "messages": tuple(found["messages"]), "tags": tuple(found.get("tags", ()))})


def _problem(found: Mapping[str, Any]) -> str | None:
    """What keeps an object from being a case, if anything does."""
    messages = found.get("messages")
    if not isinstance(messages, list) or not messages or not all(_is_turn(turn) for turn in messages):
        return f'"messages" must be a list of {{"role", "content"}} with roles {", ".join(ROLES)}'
    if messages[-1]["role"] != "user":
        return "the last message must be the user's"
    if not isinstance(found.get("answer"), str):
        return '"answer" must be a text'
    if not isinstance(found.get("check"), str | None):
        return '"check" must be the name of a check'
    if not isinstance(found.get("schema"), dict | None) or not isinstance(found.get("data", {}), dict):
        return '"schema" and "data" must be objects'
    tags = found.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        return '"tags" must be a list of texts'
    return None


def _is_turn(turn: Any) -> bool:
    return (
        isinstance(turn, dict)
        and turn.keys() == {"role", "content"}
        and turn["role"] in ROLES
        and isinstance(turn["content"], str)
    )

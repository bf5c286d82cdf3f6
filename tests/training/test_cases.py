"""The one format of test cases (docs/EXPERT_FORMAT.md 2.5)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from expert_system.errors import PackageError
from expert_system.training.cases import Case, case_of, few_shot, read_cases, to_line, write_cases
from expert_system.training.checkers import check
from expert_system.training.composition import sample
from expert_system.training.data.row import Row

EXPERTS = Path(__file__).resolve().parents[2] / "experts"
TURN = {"role": "user", "content": "?"}
LINE = {"messages": [TURN], "answer": "yes"}


@pytest.mark.parametrize("file", sorted(EXPERTS.glob("*/tests/**/*.jsonl")), ids=lambda file: str(file.parents[1].name))
def test_the_committed_cases_pass_their_own_checks(file: Path) -> None:
    """Some of each file, spread over it; also those that were written before a case could name its check."""
    assert [] == [
        case.answer for case in sample(read_cases(file).cases, 20) if not check(case.kind, case, case.answer).right
    ]


def test_cases_are_read_as_they_were_written(tmp_path: Path) -> None:
    """What a case does not have is left out of its line; line ends of Unicode within a text are no line ends."""
    full = Case(
        messages=({"role": "system", "content": "be brief"}, {"role": "user", "content": "a\u2028b\x85c"}),
        answer="SELECT 1",
        check="sql",
        data={"schema": "", "rows": {}},
        tags=("shape:one",),
    )
    cases = (full, Case(messages=(TURN,), answer="{}", schema={"type": "object"}))

    write_cases(cases, tmp_path / "tests" / "cases.jsonl")

    assert cases == read_cases(tmp_path / "tests" / "cases.jsonl").cases
    assert ["messages", "answer", "schema"] == list(to_line(cases[1]))


@pytest.mark.parametrize(
    ("line", "kind"),
    [(LINE, "exact"), ({**LINE, "schema": {}}, "json_schema"), ({**LINE, "schema": {}, "check": "f1"}, "f1")],
)
def test_a_case_without_a_check_has_one_all_the_same(line: dict[str, Any], kind: str, tmp_path: Path) -> None:
    """JSON Schema where there is a schema, else the exact text."""
    (tmp_path / "cases.jsonl").write_text(json.dumps(line))

    assert [kind] == [case.kind for case in read_cases(tmp_path / "cases.jsonl").cases]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ({**LINE, "expect": "x"}, "unknown key 'expect'"),
        ({"messages": [TURN]}, '"answer" must be a text'),
        ({**LINE, "messages": []}, '"messages" must be'),
        ({**LINE, "messages": [{"role": "robot", "content": "?"}]}, '"messages" must be'),
        ({**LINE, "messages": [{**TURN, "name": "x"}]}, '"messages" must be'),
        ({**LINE, "messages": [{"role": "assistant", "content": "?"}]}, "last message must be the user's"),
        ({**LINE, "tags": "x"}, '"tags" must be'),
        ({**LINE, "data": []}, '"schema" and "data"'),
        ([], "not an object"),
    ],
)
def test_a_line_that_is_no_case_is_refused_with_its_number(line: Any, problem: str, tmp_path: Path) -> None:
    """Unknown keys are errors, as everywhere."""
    (tmp_path / "cases.jsonl").write_text(f"{json.dumps(LINE)}\n{json.dumps(line)}\n")

    with pytest.raises(PackageError, match=f"line 2: .*{problem}"):
        read_cases(tmp_path / "cases.jsonl")


@pytest.mark.parametrize(("data", "problem"), [(b"", "holds 0 cases"), (b"\xff", "not UTF-8"), (b"{", "not JSON")])
def test_a_file_that_holds_no_cases_is_refused(data: bytes, problem: str, tmp_path: Path) -> None:
    """The message names the file."""
    (tmp_path / "cases.jsonl").write_bytes(data)

    with pytest.raises(PackageError, match=problem):
        read_cases(tmp_path / "cases.jsonl")


def test_a_row_of_a_data_set_becomes_a_case() -> None:
    """The kind of its check is the case's check, and what else the check says is the case's data."""
    row = Row(
        messages=(TURN,), answer="a", template="t", tags=("x:y",), check={"kind": "sql", "schema": "", "rows": {}}
    )

    assert Case(messages=(TURN,), answer="a", check="sql", data={"schema": "", "rows": {}}, tags=("x:y",)) == case_of(
        row
    )


def test_worked_examples_are_earlier_turns_of_the_chat() -> None:
    """Few-shot: question and answer of each example, then the question itself; the case's system message stays first."""
    case = Case(messages=({"role": "system", "content": "be brief"}, TURN), answer="yes")

    turns = few_shot(case, [case])

    assert ["system", "user", "assistant", "user"] == [turn["role"] for turn in turns]
    assert "yes" == turns[2]["content"]

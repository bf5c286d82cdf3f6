"""Joint cases of the official pairs: right, repeatable, and in need of both."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from expert_system.errors import ConfigError
from expert_system.training.cases import CASES_FILE, JOINT_FOLDER, Case, read_cases
from expert_system.training.checkers import check
from expert_system.training.programs.joint import PAIRS, joint_cases
from scripts.lib.joint import write_joint

EXPERTS = Path(__file__).resolve().parents[3] / "experts"


def test_the_committed_joint_cases_are_the_ones_that_are_made(tmp_path: Path) -> None:
    """formats.md 2.5: `tests/joint/<other>.jsonl`; scripts/joint writes the same bytes again."""
    for file in write_joint(EXPERTS, tmp_path):
        assert (EXPERTS / file.relative_to(tmp_path)).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("pair", PAIRS, ids="+".join)
def test_every_pair_has_cases_whose_answer_passes_its_own_check(pair: tuple[str, str]) -> None:
    """A case that its own right answer fails would blame the experts."""
    source = PAIRS[pair][0]
    other = next(name for name in pair if name != source)
    cases = read_cases(EXPERTS / source / JOINT_FOLDER / f"{other}.jsonl").cases

    assert 50 <= len(cases)
    assert all(check(case.kind, case, case.answer).right for case in cases)


def test_misspelt_questions_keep_every_name_that_the_query_needs() -> None:
    """What the query names is spelt as in the schema, so the misspelling is in the other words only."""
    pair = ("expert-english-basic", "expert-sql")
    made = joint_cases(pair, read_cases(EXPERTS / "expert-sql" / CASES_FILE).cases)

    for case in made:
        question = str(case.messages[-1]["content"])
        for value in re.findall(r"'%?([^'%]+)%?'", case.answer):
            assert value in question


def test_labels_stand_in_the_schema() -> None:
    """The answer is one of the labels that the text was to be given."""
    pair = ("expert-json-parser", "expert-classifier")
    case = Case(
        messages=({"role": "user", "content": "Label the text with one of: tea, iron\nText: A cup of it."},),
        answer="tea",
    )

    (made,) = joint_cases(pair, [case])

    ((key, label),) = json.loads(made.answer).items()
    assert "tea" == label
    assert ["tea", "iron"] == (made.schema or {})["properties"][key]["enum"]
    assert check("json_schema", made, json.dumps({key: "tea"})).right
    assert not check("json_schema", made, json.dumps({key: "iron"})).right


def test_a_pair_without_fitting_cases_is_refused() -> None:
    """An empty file would look like a pair that was measured."""
    with pytest.raises(ConfigError, match="no joint case of expert-json-parser and expert-retail"):
        joint_cases(("expert-json-parser", "expert-retail"), [])

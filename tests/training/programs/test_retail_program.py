"""The data of expert-retail: the policy is obeyed to the letter, and nothing of the test part is in training."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from expert_system.training.cases import case_of
from expert_system.training.checkers import check
from expert_system.training.dataset import TEST, TRAIN, VALIDATION, Part
from expert_system.training.programs.retail import POLICY

EXPERT = "expert-retail"


def texts(source: Mapping[str, Any]) -> set[str]:
    """Every sentence, frill and way to say a time."""
    found = {*source["openings"], *source["notes"], *source["closings"]}
    for pools in (source["messages"], source["times"]):
        found |= {text for entries in pools.values() for text in entries}
    return found


def test_every_answer_is_valid_and_exact(parts_of: Callable[[str], Mapping[str, Part]]) -> None:
    """A label that its own checker refuses would teach the expert to fail."""
    cases = [case_of(row) for part in parts_of(EXPERT).values() for row in part.examples]

    assert [] == [case.answer for case in cases if not check("json_schema", case, case.answer).right]


def test_every_answer_is_the_policys(parts_of: Callable[[str], Mapping[str, Part]]) -> None:
    """Intent and step by the case; the product to the letter, or null."""
    for row in (row for part in parts_of(EXPERT).values() for row in part.examples):
        answer, decision = json.loads(row.answer), POLICY[row.tag("case") or ""]
        assert (decision.intent, decision.next_step) == (answer["intent"], answer["next_step"])
        assert answer["product"] is None or answer["product"] in row.prompt


def test_the_readme_states_the_whole_policy(experts: Path) -> None:
    """Each intent with each of its steps, and nothing else."""
    readme = (experts / EXPERT / "README.md").read_text(encoding="utf-8")
    table = {(intent, step) for intent, step in re.findall(r"^\| (\w+) \| [^|]+ \| (\w+) \|$", readme, re.MULTILINE)}

    assert {(decision.intent, decision.next_step) for decision in POLICY.values()} == table - {("intent", "next_step")}


def test_parts_share_no_sentence(sources_of: Callable[[str], Mapping[str, Any]]) -> None:
    """README: sentences, greetings, notes, closings and times of the held-out part are new."""
    for one, other in combinations((TRAIN, VALIDATION, TEST), 2):
        assert set() == texts(sources_of(EXPERT)[one]) & texts(sources_of(EXPERT)[other])


def test_every_case_is_trained_and_held_out(parts_of: Callable[[str], Mapping[str, Part]]) -> None:
    """No case of the policy is left unmeasured."""
    for part in (TRAIN, TEST):
        assert POLICY.keys() == {row.tag("case") for row in parts_of(EXPERT)[part].examples}


def test_held_out_products_are_new(parts_of: Callable[[str], Mapping[str, Part]]) -> None:
    """A product of the test part was never an answer in training."""
    seen, held_out = (
        {json.loads(row.answer)["product"] for row in parts_of(EXPERT)[part].examples} for part in (TRAIN, TEST)
    )

    assert {None} == seen & held_out

"""What rows go through: steps, duplicates, contamination, splits, mix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expert_system.errors import ConfigError
from expert_system.training.data.checks import valid, whole
from expert_system.training.data.duplicates import contaminated, exact_duplicates, near_duplicates
from expert_system.training.data.formats import CHAT, INSTRUCTION, PREFERENCE, ROW, read_jsonl, to_jsonl
from expert_system.training.data.row import Row
from expert_system.training.data.sifting import sift
from expert_system.training.data.splits import difficulties, leaks, mix, split_by_template


def row(prompt: str, answer: str = "yes", template: str = "t", **more: Any) -> Row:
    return Row(messages=({"role": "user", "content": prompt},), answer=answer, template=template, **more)


def letters(texts: Sequence[str]) -> Any:
    """Counts of letters: near for texts that differ in a word, exact and cheap."""
    return np.array([[text.lower().count(chr(97 + n)) for n in range(26)] for text in texts], dtype=np.float32)


def test_a_row_is_dropped_by_the_first_step_that_objects() -> None:
    """The report counts each row once, and names a step that did not run."""
    rows = [row("one", ""), row("two"), row("two")]

    kept, report = sift(rows, {"whole": whole, "near": "no encoder", "exact": exact_duplicates})

    assert (rows[1],) == kept
    assert [(3, 2), (2, 2), (2, 1)] == [(step.seen, step.kept) for step in report]
    assert [None, "no encoder", None] == [step.skipped for step in report]


def test_an_answer_must_be_valid_against_its_schema() -> None:
    """What the schema refuses is no training data; a row without a schema is free."""
    schema = {"type": "object", "required": ["a"]}

    reasons = valid(
        [row("1", '{"a": 1}', schema=schema), row("2", "{}", schema=schema), row("3", "{", schema=schema), row("4")]
    )

    assert [True, False, False, True] == [reason is None for reason in reasons]


def test_of_exact_duplicates_the_first_stays() -> None:
    """Case and spaces make no other question; another answer to it is told apart."""
    rows = [row("What is it?"), row("what  IS it?", "YES"), row("What is it?", "no")]

    assert [None, "asked before", "asked before, with another answer"] == exact_duplicates(rows)


def test_near_duplicates_go_by_cosine_to_kept_rows() -> None:
    """Content counts, not the wording around it; a row near to a dropped one only may stay."""
    rows = [
        row("w1", content="the quick brown fox jumps"),
        row("w2", content="the quick brown fox jumped"),
        row("w1", content="zzz zzz"),
    ]

    assert [True, False, True] == [reason is None for reason in near_duplicates(letters, 0.85)(rows)]


def test_held_out_rows_are_neither_asked_nor_quoted_nor_nearly_asked() -> None:
    """Decontamination finds all three."""
    case = row("Name the colours of the rainbow in the order of their wavelength")
    rows = [
        row(case.prompt.upper()),
        row(f"Please: {case.prompt} - thanks"),
        row("Name the colour of the rainbow in order of wavelength"),
        row("zzz"),
    ]

    reasons = contaminated([case], letters, 0.85)(rows)

    assert [False, False, False, True] == [reason is None for reason in reasons]
    assert [False, False, True, True] == [reason is None for reason in contaminated([case], None, None)(rows)]


def test_a_template_is_in_one_part_only() -> None:
    """The split is by whole templates, near the shares, and repeats with its seed."""
    rows = [row(f"{n}", template=f"t{n % 20}") for n in range(200)]
    shares = {"train": 0.8, "validation": 0.1, "test": 0.1}

    parts = split_by_template(rows, shares, seed=1)

    assert [] == leaks(parts)
    assert {"train": 160, "validation": 20, "test": 20} == {name: len(found) for name, found in parts.items()}
    assert parts == split_by_template(rows, shares, seed=1)
    assert parts != split_by_template(rows, shares, seed=2)


def test_too_few_templates_cannot_be_split() -> None:
    """Two topics in three parts would leak."""
    with pytest.raises(ConfigError, match="template-column"):
        split_by_template([row("1", template="a"), row("2", template="b")], {"train": 1, "validation": 1, "test": 1}, 0)


def test_leaks_are_named() -> None:
    """A template or a prompt in two parts."""
    found = leaks({"train": [row("a", template="x")], "test": [row("A", template="y"), row("b", template="x")]})

    assert 2 == len(found)


def test_the_mix_follows_the_shares_and_fills_up() -> None:
    """Where a difficulty has too few rows the others stand in."""
    rows = [row(f"{n}", tags=(f"difficulty:{'easy' if n % 4 else 'hard'}",)) for n in range(40)]

    assert {"easy": 5, "hard": 5} == difficulties(mix(rows, {"easy": 0.5, "hard": 0.5}, 10))
    assert {"easy": 10, "hard": 10} == difficulties(mix(rows, {"easy": 0.2, "hard": 0.8}, 20))


@pytest.mark.parametrize("form", [ROW, CHAT, INSTRUCTION, PREFERENCE])
def test_a_format_reads_what_it_wrote(tmp_path: Path, form: str) -> None:
    """Prompt and answers come back in every format, and all of a row in its own."""
    rows = (row("a\u2028b", "c\nd", rejected="e", tags=("x:y",), content="a", provenance={"cost": 0.5}),)
    (tmp_path / "rows.jsonl").write_bytes(to_jsonl(rows, form))

    read, named = read_jsonl(tmp_path / "rows.jsonl")

    assert form == named
    assert [(rows[0].messages, rows[0].answer)] == [(found.messages, found.answer) for found in read]
    assert (rows == read) == (form == ROW)


def test_a_line_of_no_format_is_refused_with_its_number(tmp_path: Path) -> None:
    """A file is of one format from its first line on."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(to_jsonl([row("a")]) + b'{"hello": 1}\n')

    with pytest.raises(ConfigError, match="line 2"):
        read_jsonl(path)

"""What an expert is measured on: held-out cases, and worked examples for the base.

    expert's folder -> recipe's test part, or tests/cases.jsonl -> HeldOut(cases, shots, sha256)

Promise: the cases are not in training, and the worked examples are not among the cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from expert_system.errors import ConfigError, PackageError
from expert_system.training.cases import CASES_FILE, SHOTS_FILE, Case, case_of, read_cases
from expert_system.training.dataset import TEST, TRAIN, generate
from expert_system.training.recipe import read_recipe

if TYPE_CHECKING:
    from pathlib import Path

    from expert_system.training.dataset import Part
    from expert_system.training.recipe import Recipe

RECIPE_FILE = "recipe.json"
OFFLINE = "template"
"""The generator whose parts can be written again, byte for byte, anywhere."""
SHOTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """The held-out cases and the worked examples."""

    cases: tuple[Case, ...]
    shots: tuple[Case, ...]
    """Shown to the base; none when the expert brings none."""
    sha256: str
    """Of the file that holds the cases."""
    source: str
    """Where the cases come from, for people."""


def held_out(folder: Path, cases: Path | None = None) -> HeldOut:
    """Read what an expert is measured on.

    Args:
        folder: the expert's.
        cases: a file of cases instead of the expert's own.

    Raises:
        PackageError: the cases are not in their format, or a worked example is one of them.
        ConfigError: the expert has neither cases nor a recipe that writes them.
    """
    recipe = _offline_recipe(folder)
    parts = generate(recipe.dataset, folder) if recipe is not None else {}
    own = folder / CASES_FILE
    if cases is None and parts:
        asked = tuple(case_of(row) for row in parts[TEST].examples)
        sha256, source = parts[TEST].sha256, f"the test part of {RECIPE_FILE}"
    elif cases is not None or own.is_file():
        found = read_cases(cases or own)
        asked, sha256, source = found.cases, found.sha256, str(cases or CASES_FILE)
    else:
        raise ConfigError(f"{folder} has no {CASES_FILE} and no {RECIPE_FILE}; write cases, or give --cases FILE")
    shots = _shots(folder, parts.get(TRAIN))
    known = {case.messages[-1]["content"] for case in asked}
    for shot in shots:
        if shot.messages[-1]["content"] in known:
            raise PackageError(f"a worked example is one of the cases: {shot.messages[-1]['content'][:80]!r}")
    return HeldOut(cases=asked, shots=shots, sha256=sha256, source=source)


def _offline_recipe(folder: Path) -> Recipe | None:
    file = folder / RECIPE_FILE
    recipe = read_recipe(file) if file.is_file() else None
    return recipe if recipe is not None and recipe.dataset.generator == OFFLINE else None


def _shots(folder: Path, train: Part | None) -> tuple[Case, ...]:
    """The expert's own worked examples; else the first rows in the contract's wording, each from another template."""
    if (folder / SHOTS_FILE).is_file():
        return read_cases(folder / SHOTS_FILE).cases
    rows = [row for row in train.examples if row.tag("wording") in {None, "contract"}] if train is not None else []
    first = {row.template: row for row in reversed(rows)}
    order = list(dict.fromkeys(row.template for row in rows))
    return tuple(case_of(first[template]) for template in order[:SHOTS])

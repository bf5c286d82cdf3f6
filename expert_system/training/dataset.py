"""The data set of a recipe: three parts that share no template and no prompt.

    recipe + seed -> program -> rows -> train, validation, test (JSON lines and the sha256 of each)

Promise: the same recipe gives the same bytes on every machine.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from expert_system.errors import ConfigError
from expert_system.training.data.formats import EXTRACTION, ROW, read_jsonl, to_jsonl
from expert_system.training.dataset_recipe import FamiliesRecipe
from expert_system.training.programs import find_program

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from expert_system.training.data.row import Row
    from expert_system.training.dataset_recipe import DatasetRecipe

TRAIN, VALIDATION, TEST = "train", "validation", "test"
PARTS = (TRAIN, VALIDATION, TEST)
MAX_REPEATS = 10_000
"""Prompts in a row that were written before; then a program has nothing new to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a data set."""

    examples: tuple[Row, ...]
    form: str = ROW
    """The format of its lines, one of `data.formats.FORMATS`."""

    def to_jsonl(self) -> bytes:
        """One example a line."""
        return to_jsonl(self.examples, self.form)

    @property
    def sha256(self) -> str:
        """Digest of the part as a file."""
        return hashlib.sha256(self.to_jsonl()).hexdigest()


def generate(recipe: DatasetRecipe, folder: Path) -> Mapping[str, Part]:
    """Write every part of a data set.

    Args:
        recipe: the recipe's "dataset" section.
        folder: the expert's folder, which the recipe's file names are relative to.

    Raises:
        ConfigError: the program is unknown, has too few distinct rows, or uses a template in two parts.
    """
    program = find_program(recipe)
    form = EXTRACTION if isinstance(recipe, FamiliesRecipe) else ROW
    parts: dict[str, Part] = {}
    prompts: set[str] = set()
    part_of: dict[str, str] = {}
    for name in PARTS:
        wanted = getattr(recipe, name).count
        rows = _distinct(program.generate(recipe, folder, name), wanted, prompts, name)
        for row in rows:
            if part_of.setdefault(row.template, name) != name:
                raise ConfigError(
                    f"the template {row.template!r} is in the parts {part_of[row.template]} and {name}; "
                    f"the program must give each part templates of its own"
                )
        parts[name] = Part(examples=rows, form=form)
    return parts


def _distinct(rows: Iterable[Row], wanted: int, prompts: set[str], name: str) -> tuple[Row, ...]:
    """The first rows whose prompts are new."""
    kept: list[Row] = []
    repeats = 0
    for row in rows:
        repeats = repeats + 1 if row.prompt in prompts else 0
        if not repeats:
            prompts.add(row.prompt)
            kept.append(row)
        if len(kept) == wanted or repeats == MAX_REPEATS:
            break
    if len(kept) < wanted:
        raise ConfigError(
            f"the part {name} has {len(kept)} distinct rows of the {wanted} that the recipe asks for; "
            f"lower its count or give its program more to write from"
        )
    return tuple(kept)


def read_part(path: Path) -> Part:
    """Read a part that `to_jsonl` wrote."""
    rows, form = read_jsonl(path)
    return Part(examples=rows, form=form)

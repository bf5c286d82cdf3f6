"""Write a data set from a recipe: three parts that share no family, no wording and no schema.

    recipe + seed -> train.jsonl, validation.jsonl, test.jsonl (+ sha256 of each)

Promise: the same recipe gives the same bytes on every machine.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from random import Random
from typing import TYPE_CHECKING

from expert_system.training.examples import Example, write_example
from expert_system.training.families import read_split
from expert_system.training.grammar import Grammar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from expert_system.training.recipe import DatasetRecipe

TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a data set."""

    examples: tuple[Example, ...]

    def to_jsonl(self) -> bytes:
        """One example a line."""
        lines = (json.dumps(asdict(example), ensure_ascii=False) for example in self.examples)
        return "".join(f"{line}\n" for line in lines).encode()

    @property
    def sha256(self) -> str:
        """Digest of the part as a file."""
        return hashlib.sha256(self.to_jsonl()).hexdigest()


def generate(recipe: DatasetRecipe, folder: Path) -> Mapping[str, Part]:
    """Write every part of a data set.

    Args:
        recipe: counts, seed and the names of the families' files.
        folder: the expert's folder, which those names are relative to.
    """
    pools = json.loads((folder / recipe.values).read_text(encoding="utf-8"))
    files = {TRAIN: recipe.train, VALIDATION: recipe.validation, TEST: recipe.test}
    parts: dict[str, Part] = {}
    seen: set[str] = set()
    for name, source in files.items():
        split = read_split(folder / source.families)
        grammar = Grammar(pools=pools, held_out=name != TRAIN)
        rng = Random(f"{recipe.seed}/{name}")
        examples: list[Example] = []
        while len(examples) < source.count:
            example = write_example(split, grammar, source.contract_share, rng)
            if example.prompt not in seen:
                seen.add(example.prompt)
                examples.append(example)
        parts[name] = Part(examples=tuple(examples))
    return parts


def read_part(path: Path) -> Part:
    """Read a part that `to_jsonl` wrote."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return Part(examples=tuple(Example(**json.loads(line)) for line in lines))

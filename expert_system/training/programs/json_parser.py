"""Requests for JSON under a schema: the program behind expert-json-parser.

    families + value pools -> text, schema, answer -> Row

Promise: parts share no family, no wording and no long pool's entry; the contract's wording is in all of them.
"""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

from expert_system.training.data.row import Row
from expert_system.training.examples import Example, write_example
from expert_system.training.grammar import Grammar
from expert_system.training.split import read_split

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from expert_system.training.dataset_recipe import FamiliesPart, FamiliesRecipe

TRAIN = "train"


class JsonParser:
    """Writes examples of one split after the other."""

    def generate(self, section: FamiliesRecipe, folder: Path, part: str) -> Iterator[Row]:
        """Write without end; what repeats is for the caller to leave out."""
        source: FamiliesPart = getattr(section, part)
        pools = json.loads((folder / section.values).read_text(encoding="utf-8"))
        split = read_split(folder / source.families)
        grammar = Grammar(pools=pools, held_out=part != TRAIN, own=split.pools)
        rng = Random(f"{section.seed}/{part}")
        while True:
            yield row_from(write_example(split, grammar, source.contract_share, rng))


def row_from(example: Example) -> Row:
    """An example as a row; its wording is 0 when it is the contract's."""
    wording = "contract" if example.instruction == 0 else "paraphrase"
    return Row(
        messages=({"role": "user", "content": example.prompt},),
        answer=example.answer,
        template=example.family,
        tags=(f"family:{example.family}", f"wording:{wording}", f"shape:{_shape(example.schema)}"),
        schema=example.schema,
        provenance={"program": "json-parser", "wording": example.instruction},
    )


def _shape(schema: Mapping[str, Any]) -> str:
    """Whether a schema is flat, holds lists, or nests objects."""
    written = json.dumps(schema["properties"])
    if '"object"' in written:
        return "nested"
    return "list" if '"array"' in written else "flat"

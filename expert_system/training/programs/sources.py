"""What the programs share: their options, the files they read, and how a request is worded.

    recipe section + part -> Source(data, pools, contract share) -> wording -> prompt

Promise: unknown options are refused, and the first instruction of every file is the contract.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from expert_system.training.data.row import Row
from expert_system.training.grammar import Grammar

if TYPE_CHECKING:
    from pathlib import Path

    from expert_system.training.dataset_recipe import ProgramPart, ProgramRecipe

TRAIN = "train"
SLOT = re.compile(r"\{(\w+)\}")
ARTICLE = "{a}"
"""What the slot of an article is filled with until the word behind it is known."""
_BEFORE_VOWEL = re.compile(r"\{a\}(?= [aeiouAEIOU])")


class CommonOptions(BaseModel):
    """Options of all parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    values: str
    """File of the value pools, relative to the expert's folder."""


class PartOptions(BaseModel):
    """Options of one part."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    """File of the part's wordings and topics, relative to the expert's folder."""
    contract_share: float = Field(ge=0, le=1)
    """Share of requests worded as the contract; the others are paraphrases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What one part is written from."""

    program: str
    part: str
    data: Mapping[str, Any]
    grammar: Grammar
    contract_share: float
    rng: Random
    """Decides everything; seeded by the recipe's seed and the part's name."""

    @property
    def held_out(self) -> bool:
        """Whether this part is not trained on."""
        return self.part != TRAIN

    def row(
        self,
        slots: Mapping[str, str],
        answer: str,
        *,
        template: str,
        tags: Sequence[str],
        check: Mapping[str, Any],
        schema: Mapping[str, Any] | None = None,
    ) -> Row:
        """Word the request and make the row.

        Args:
            slots: what the instruction's slots stand for.
            answer: the only right answer.
            template: what the row was written from, without the program's name.
            tags: categories besides the wording's.
            check: how the answer is executed.
            schema: JSON Schema of the answer, where there is one.
        """
        instructions = self.data["instructions"]
        others = len(instructions) - 1
        use_contract = others == 0 or self.rng.random() < self.contract_share
        wording = 0 if use_contract else self.rng.randint(1, others)
        return Row(
            messages=({"role": "user", "content": fill(instructions[wording], slots)},),
            answer=answer,
            template=f"{self.program}/{template}",
            tags=(*tags, f"wording:{'contract' if wording == 0 else 'paraphrase'}"),
            check=check,
            schema=schema,
            provenance={"program": self.program, "wording": wording},
        )


def open_source(section: ProgramRecipe, folder: Path, part: str) -> Source:
    """Read the files of one part.

    Raises:
        pydantic.ValidationError: an option is unknown or missing.
    """
    common = CommonOptions.model_validate(section.options)
    source: ProgramPart = getattr(section, part)
    options = PartOptions.model_validate(source.options)
    pools = json.loads((folder / common.values).read_text(encoding="utf-8"))
    return Source(
        program=section.program,
        part=part,
        data=json.loads((folder / options.file).read_text(encoding="utf-8")),
        grammar=Grammar(pools=pools, held_out=part != TRAIN),
        contract_share=options.contract_share,
        rng=Random(f"{section.seed}/{part}"),
    )


def fill(wording: str, slots: Mapping[str, str]) -> str:
    """Put texts into the slots of a wording; they are not searched for slots again."""
    return SLOT.sub(lambda match: slots[match.group(1)], wording)


def with_article(text: str) -> str:
    """Write "an" where an article stands before a vowel, and "a" elsewhere; words of the text itself stay as they are."""
    return _BEFORE_VOWEL.sub("an", text).replace(ARTICLE, "a")

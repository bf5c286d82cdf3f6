"""The data half of a recipe: which generator writes the rows, from what, how many, with which seed.

    recipe.json "dataset" -> one of the sections below, chosen by its `generator` (and `program`)

Promise: an unknown key is an error, and a section holds all that decides which rows come out.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag

JSON_PARSER = "json-parser"
"""The program of a template section that names none: it is told by its value pools and families."""


class Strict(BaseModel):
    """A frozen section that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FamiliesPart(Strict):
    """One part of a data set that is written from families of texts."""

    families: str
    """File of the families, relative to the expert's folder."""
    count: int = Field(gt=0)
    contract_share: float = Field(ge=0, le=1)
    """Share of requests worded as the contract; the others are paraphrases."""


class FamiliesRecipe(Strict):
    """Texts and the JSON that a schema asks of them, written by the program json-parser."""

    generator: Literal["template"]
    seed: int
    values: str
    """File of the value pools, relative to the expert's folder."""
    train: FamiliesPart
    validation: FamiliesPart
    test: FamiliesPart


class ProgramPart(Strict):
    """One part of a data set that a program writes."""

    count: int = Field(gt=0)
    options: dict[str, JsonValue] = {}
    """What the program wants to know of this part; it checks them itself."""


class ProgramRecipe(Strict):
    """Rows that a seeded program of `training/programs/` writes, offline."""

    generator: Literal["template"]
    program: str
    """Its name, such as "sql"; `training/programs/` lists them."""
    seed: int
    options: dict[str, JsonValue] = {}
    """What the program wants to know of all parts, such as files relative to the expert's folder."""
    train: ProgramPart
    validation: ProgramPart
    test: ProgramPart


TemplateRecipe = FamiliesRecipe | ProgramRecipe
"""What `training/programs/` can be asked for."""


def _kind(data: Any) -> str:
    """Which section this is; pydantic names the generator when there is none like it."""
    given = data if isinstance(data, dict) else data.__dict__
    generator = str(given.get("generator"))
    return "families" if generator == "template" and "program" not in given else generator


DatasetRecipe = Annotated[
    Annotated[FamiliesRecipe, Tag("families")] | Annotated[ProgramRecipe, Tag("template")],
    Discriminator(_kind),
]
"""The "dataset" section of a recipe."""

"""The data half of a recipe: which generator writes the rows, from what, how many, with which seed.

    recipe.json "dataset" -> one of the sections below, chosen by its `generator` (and `program`)

Promise: an unknown key is an error, and a section holds all that decides which rows come out.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, JsonValue, Tag

from expert_system.package.fields import RelativePath
from expert_system.training.provider_recipe import PAID_PROVIDERS, ProviderRecipe
from expert_system.training.recipe_fields import NEAR_DUPLICATE_COSINE, PARTS_FOLDER, Strict

JSON_PARSER = "json-parser"
"""The program of a template section that names none: it is told by its value pools and families."""


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
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """What the program wants to know of this part; it checks them itself."""


class ProgramRecipe(Strict):
    """Rows that a seeded program of `training/programs/` writes, offline."""

    generator: Literal["template"]
    program: str
    """Its name, such as "sql"; `training/programs/` lists them."""
    seed: int
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """What the program wants to know of all parts, such as files relative to the expert's folder."""
    train: ProgramPart
    validation: ProgramPart
    test: ProgramPart


TemplateRecipe = FamiliesRecipe | ProgramRecipe
"""What `training/programs/` can be asked for."""


class KeptPart(Strict):
    """One part that lies in a file."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class FilesRecipe(Strict):
    """Rows that came from elsewhere (`expert-cli dataset import`), pinned by their digests."""

    generator: Literal["files"]
    seed: int = 0
    """Nothing is drawn; runs and manifests name a seed."""
    parts: RelativePath = PARTS_FOLDER
    near_duplicate_cosine: float | None = Field(default=NEAR_DUPLICATE_COSINE, gt=0, le=1)
    train: KeptPart
    validation: KeptPart
    test: KeptPart


def _kind(data: Any) -> str:
    """Which section this is; pydantic names the generator when there is none like it."""
    given = data if isinstance(data, dict) else getattr(data, "__dict__", {})
    generator = str(given.get("generator"))
    if generator in {*PAID_PROVIDERS, "local"}:
        return "provider"
    return "families" if generator == "template" and "program" not in given else generator


DatasetRecipe = Annotated[
    Annotated[FamiliesRecipe, Tag("families")]
    | Annotated[ProgramRecipe, Tag("template")]
    | Annotated[ProviderRecipe, Tag("provider")]
    | Annotated[FilesRecipe, Tag("files")],
    Discriminator(_kind),
]
"""The "dataset" section of a recipe."""

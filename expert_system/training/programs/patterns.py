"""Rows from patterns that an author writes as data: the program for whoever writes no program.

    wordings + templates + value pools -> values drawn -> prompt, answer -> Row

Promise: a value is drawn once and stands in the prompt and in the answer alike; each part has templates of its own, and
long pools are cut in two, so that held-out values were never trained on.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from pydantic import Field, JsonValue, ValidationError

from expert_system.errors import ConfigError
from expert_system.training.data.authoring import filled_all
from expert_system.training.data.parts import TRAIN
from expert_system.training.data.row import Row
from expert_system.training.families import SLOT
from expert_system.training.grammar import Grammar
from expert_system.training.recipe_fields import Strict
from expert_system.training.values import fill

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from expert_system.training.dataset_recipe import ProgramRecipe

FILE_OPTION = "patterns"
"""The section's option that names the file, relative to the expert's folder."""
CONTENT = "content"


class Template(Strict):
    """One thing to ask about."""

    name: str
    content: str
    """What is asked about, over the values."""
    values: dict[str, str]
    """Name to a pattern of `grammar`, such as "{??}-{####}" or "{month}"."""
    answer: str
    """The right answer, over the values."""
    check: dict[str, JsonValue] | None = None


class PartPatterns(Strict):
    """What one part is written from."""

    paraphrases: tuple[str, ...] = ()
    """Other wordings of the contract; each holds {content}."""
    templates: tuple[Template, ...] = Field(min_length=1)


class Patterns(Strict):
    """The whole file."""

    contract: str
    """The wording that the expert's README promises; holds {content}."""
    contract_share: float = Field(ge=0, le=1)
    pools: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    train: PartPatterns
    validation: PartPatterns
    test: PartPatterns


class PatternProgram:
    """Writes from one file of patterns."""

    def generate(self, section: ProgramRecipe, folder: Path, part: str) -> Iterator[Row]:
        """Write without end.

        Raises:
            ConfigError: the file is missing, not well formed, or a text names a value that its template has not.
        """
        patterns = _read(section, folder)
        source: PartPatterns = getattr(patterns, part)
        grammar = Grammar(pools=patterns.pools, held_out=part != TRAIN)
        rng = Random(f"{section.seed}/{part}")
        while True:
            template = rng.choice(source.templates)
            values = {name: grammar.expand(pattern, rng) for name, pattern in template.values.items()}
            paraphrased = bool(source.paraphrases) and rng.random() >= patterns.contract_share
            wording = rng.choice(source.paraphrases) if paraphrased else patterns.contract
            content = fill(template.content, values)
            yield Row(
                messages=({"role": "user", "content": fill(wording, {CONTENT: content})},),
                answer=fill(template.answer, values),
                template=template.name,
                tags=(f"template:{template.name}", f"wording:{'paraphrase' if paraphrased else 'contract'}"),
                check=filled_all(template.check, values) if template.check is not None else None,
                content=content,
                provenance={"program": "patterns", "seed": section.seed},
            )


def _read(section: ProgramRecipe, folder: Path) -> Patterns:
    """Read and check the file."""
    unknown = section.options.keys() - {FILE_OPTION}
    name: Any = section.options.get(FILE_OPTION)
    if unknown or not isinstance(name, str):
        raise ConfigError(
            f'recipe.json: the program patterns takes one option, {{"{FILE_OPTION}": "dataset/FILE.json"}}'
        )
    path = folder / name
    try:
        patterns = Patterns.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the patterns: {error.strerror}") from None
    except ValidationError as error:
        raise ConfigError(f"{path}: {error}") from None
    for source in (patterns.train, patterns.validation, patterns.test):
        for wording in (patterns.contract, *source.paraphrases):
            if SLOT.findall(wording) != [CONTENT]:
                raise ConfigError(f"{path}: the wording {wording!r} must hold {{content}} once and no other slot")
        for template in source.templates:
            missing = {*SLOT.findall(template.content), *SLOT.findall(template.answer)} - template.values.keys()
            if missing:
                raise ConfigError(f"{path}: the template {template.name!r} has no values {', '.join(sorted(missing))}")
    return patterns

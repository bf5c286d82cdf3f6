"""Programs that write data sets offline, each from its own templates, by name.

    recipe section + seed -> Program.generate(section, folder, part) -> an endless stream of rows

Promise: the same section gives the same rows on every machine; `dataset.generate` takes as many distinct ones as the
recipe asks for, and refuses a program that uses one template in two parts.

A new program is a module here with a class that has `generate`, and a line in PROGRAMS.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from expert_system.errors import ConfigError
from expert_system.training.dataset_recipe import JSON_PARSER, FamiliesRecipe, TemplateRecipe

if TYPE_CHECKING:
    from pathlib import Path

    from expert_system.training.data.row import Row

PROGRAMS = {
    JSON_PARSER: "expert_system.training.programs.json_parser:JsonParser",
    "sql": "expert_system.training.programs.sql:Sql",
    "grammar": "expert_system.training.programs.grammar:Grammar",
    "cypher": "expert_system.training.programs.cypher:Cypher",
    "retail": "expert_system.training.programs.retail:Retail",
    "classifier": "expert_system.training.programs.classifier:Classifier",
    "patterns": "expert_system.training.programs.patterns:PatternProgram",
}
"""Name in a recipe -> "module:class"; imported when it is asked for."""


class Program(Protocol):
    """A seeded writer of rows."""

    def generate(self, section: Any, folder: Path, part: str) -> Iterable[Row]:
        """Write the rows of one part, as many as are taken.

        Args:
            section: the recipe's `ProgramRecipe`; `section.options` and the part's `options` are the program's to check.
            folder: the expert's folder, which file names in the options are relative to.
            part: "train", "validation" or "test". Draw from `Random(f"{section.seed}/{part}")`, and use templates,
                schemas and wordings that no other part uses (the contract's own wording aside).
        """
        ...


def find_program(section: TemplateRecipe) -> Program:
    """The program that a section asks for.

    Raises:
        ConfigError: there is none of this name.
    """
    name = JSON_PARSER if isinstance(section, FamiliesRecipe) else section.program
    if name not in PROGRAMS:
        raise ConfigError(f"recipe.json: no data program is named {name!r}; there are {', '.join(sorted(PROGRAMS))}")
    module, _, kind = PROGRAMS[name].partition(":")
    return cast("Program", getattr(import_module(module), kind)())

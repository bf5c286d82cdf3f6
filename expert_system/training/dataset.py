"""The data set of a recipe: three parts that share no template and no prompt.

    recipe + seed -> program -> rows -> train, validation, test (JSON lines and the sha256 of each)
    recipe -> files that a provider or an import left in the expert's folder -> the same

Promise: the same recipe gives the same bytes on every machine; files that are not the ones the recipe or their report
names are refused.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from expert_system.errors import ConfigError
from expert_system.training.data.formats import EXTRACTION, ROW, read_jsonl, to_jsonl
from expert_system.training.data.parts import PARTS, TEST, TRAIN, VALIDATION
from expert_system.training.dataset_recipe import FamiliesRecipe, FilesRecipe, ProgramRecipe
from expert_system.training.programs import find_program

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from expert_system.training.data.row import Row
    from expert_system.training.dataset_recipe import DatasetRecipe
    from expert_system.training.provider_recipe import ProviderRecipe

__all__ = ["PARTS", "TEST", "TRAIN", "VALIDATION", "Part", "generate", "read_part", "write_parts"]

REPORT = "report.json"
"""How a provider's parts came about; written last, so its presence means that they are complete."""
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
    """Make every part of a data set: a program writes it again, what a provider or an import left is read.

    Args:
        recipe: the recipe's "dataset" section.
        folder: the expert's folder, which the recipe's file names are relative to.

    Raises:
        ConfigError: the program is unknown, has too few distinct rows, or uses a template in two parts; or a file is
            missing or not the one that was made.
    """
    if not isinstance(recipe, FamiliesRecipe | ProgramRecipe):
        return _kept(recipe, folder / recipe.parts)
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


def _kept(recipe: FilesRecipe | ProviderRecipe, folder: Path) -> Mapping[str, Part]:
    """Read parts that cannot be written again."""
    if isinstance(recipe, FilesRecipe):
        digests = {name: getattr(recipe, name).sha256 for name in PARTS}
        source = "the recipe"
    else:
        report = folder / REPORT
        if not report.is_file():
            raise ConfigError(
                f"{report} is missing: the provider {recipe.generator} has not written this data set yet; "
                f"run `expert-cli dataset generate --manifest` on the expert's folder"
            )
        parts = json.loads(report.read_text(encoding="utf-8"))["parts"]
        digests = {name: parts[name]["sha256"] for name in PARTS}
        source = str(report)
    kept: dict[str, Part] = {}
    for name in PARTS:
        path = folder / f"{name}.jsonl"
        if not path.is_file():
            raise ConfigError(f"{path} is missing; restore it, or make the data set again")
        if hashlib.sha256(path.read_bytes()).hexdigest() != digests[name]:
            raise ConfigError(f"{path} is not the file that {source} names; restore it, or make the data set again")
        kept[name] = read_part(path)
    return kept


def write_parts(parts: Mapping[str, Part], folder: Path, report: dict[str, Any] | None = None) -> None:
    """Write the parts as files, aside and renamed, and last the report that says they are complete."""
    folder.mkdir(parents=True, exist_ok=True)
    if report is not None:
        (folder / REPORT).unlink(missing_ok=True)
    files = {f"{name}.jsonl": part.to_jsonl() for name, part in parts.items()}
    if report is not None:
        files[REPORT] = (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode()
    for name, data in files.items():
        aside = folder / f"{name}.partial"
        aside.write_bytes(data)
        aside.replace(folder / name)


def read_part(path: Path) -> Part:
    """Read a part that `to_jsonl` wrote."""
    rows, form = read_jsonl(path)
    return Part(examples=rows, form=form)

"""Rows from elsewhere become parts: read, sifted, split by template.

    JSON lines, Parquet, CSV or a folder of `datasets` -> rows -> sifted -> train, validation, test

Promise: a split that the source already has is kept and must not leak; one that it has not is made by whole templates.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from expert_system.errors import ConfigError
from expert_system.training.data import huggingface
from expert_system.training.data.formats import recognise
from expert_system.training.data.parts import PARTS
from expert_system.training.data.pipeline import Near, pipeline
from expert_system.training.data.sifting import sift
from expert_system.training.data.splits import leaks, split_by_template

if TYPE_CHECKING:
    from pathlib import Path

    from expert_system.training.data.row import Row
    from expert_system.training.data.sifting import Sifted

UNSPLIT = "duplicates are dropped before the parts are made"
SHOWN_LEAKS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What an import brought."""

    parts: Mapping[str, tuple[Row, ...]]
    steps: tuple[Sifted, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How rows without parts are divided."""

    shares: Mapping[str, float]
    seed: int
    template_column: str | None = None
    """The key whose value says what a row was written from; without it each prompt stands for itself."""


def take(path: Path, split: Split, near: Near) -> Taken:
    """Read a source and make parts of it.

    Args:
        path: a .jsonl, .parquet or .csv file, or a folder with one .jsonl a part or of `datasets`.
        split: for a source without the parts train, validation and test.
        near: how near duplicates are found.

    Raises:
        ConfigError: the source cannot be read, a row fits no format, or its own split leaks.
    """
    source = {name: [_row(item, split, path) for item in items] for name, items in _objects(path).items()}
    # Held-out rows first, so that of two alike the held-out one stays.
    ordered = [(name, row) for name in sorted(source, key=_held_out_first) for row in source[name]]
    kept, report = sift([row for _, row in ordered], pipeline(near, UNSPLIT))
    if set(source) >= set(PARTS):
        stays = {id(row) for row in kept}
        parts = {part: tuple(row for name, row in ordered if name == part and id(row) in stays) for part in PARTS}
        found = leaks(parts)
        if found:
            raise ConfigError(f"{path} has parts that leak: {'; '.join(found[:SHOWN_LEAKS])}; give it as one file")
    else:
        parts = split_by_template(kept, split.shares, split.seed)
    return Taken(parts=parts, steps=report)


def _held_out_first(name: str) -> int:
    return -PARTS.index(name) if name in PARTS else 1


def _objects(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Plain objects by split."""
    if path.is_dir() and (files := sorted(path.glob("*.jsonl"))):
        return {file.stem: _lines(file) for file in files if file.stem in PARTS}
    if path.suffix == ".jsonl":
        return {"all": _lines(path)}
    return huggingface.load(path)


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as JSON lines: {error}") from None


def _row(item: Mapping[str, Any], split: Split, path: Path) -> Row:
    column = split.template_column
    try:
        row = recognise(item).read({key: value for key, value in item.items() if key != column or column == "template"})
        if column is not None:
            return replace(row, template=str(item[column]))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path}: {json.dumps(item, ensure_ascii=False, default=str)[:120]} is no row: {error}"
        ) from None
    return row if row.template else replace(row, template=_own(row.messages))


def _own(messages: Sequence[Mapping[str, str]]) -> str:
    """A template of a row's own."""
    said = json.dumps([turn["content"] for turn in messages], ensure_ascii=False)
    return f"row:{hashlib.sha256(said.encode()).hexdigest()[:16]}"

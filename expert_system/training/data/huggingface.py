"""Rows as a Hugging Face `datasets` folder, and rows from one.

    parts -> DatasetDict.save_to_disk -> folder;   folder, Parquet or CSV -> objects by split

Promise: what goes out comes in again unchanged. Arrow wants one type a column, so `schema`, `check` and `provenance`
are JSON texts there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from expert_system.errors import ConfigError
from expert_system.training.data.formats import FORMATS, ROW

if TYPE_CHECKING:
    from pathlib import Path

    from expert_system.training.data.row import Row

JSON_COLUMNS = ("schema", "check", "provenance")
COLUMNS = ("messages", "answer", "template", "tags", "schema", "check", "content", "rejected", "provenance")
TABLES = {".parquet": "parquet", ".csv": "csv"}
"""Ending of a file -> the builder of `datasets` that reads it."""


def save(parts: Mapping[str, Sequence[Row]], folder: Path) -> None:
    """Write a DatasetDict with one split for each part.

    Args:
        parts: name to rows.
        folder: made when missing; read it with `datasets.load_from_disk`.
    """
    from datasets import Dataset, DatasetDict, Features, List, Value

    text = Value("string")
    turns = List({"role": text, "content": text})
    features = Features(dict.fromkeys(COLUMNS, text) | {"messages": turns, "tags": List(text)})
    splits = {name: Dataset.from_list([_out(row) for row in rows], features=features) for name, rows in parts.items()}
    DatasetDict(splits).save_to_disk(folder)


def load(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Read a folder of `save_to_disk`, or a Parquet or CSV file, as plain objects by split.

    Raises:
        ConfigError: it is none of these.
    """
    from datasets import Dataset, DatasetDict, load_dataset, load_from_disk

    builder = TABLES.get(path.suffix)
    try:
        if builder is not None:
            found = load_dataset(builder, data_files=str(path), split="train")
        else:
            found = load_from_disk(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a data set: {error}") from None
    splits = found if isinstance(found, DatasetDict) else {"train": found}
    assert all(isinstance(split, Dataset) for split in splits.values())
    return {str(name): [_in(item) for item in split] for name, split in splits.items()}


def _out(row: Row) -> dict[str, Any]:
    written = FORMATS[ROW].write(row)
    plain = {name: written.get(name) for name in COLUMNS}
    for name in JSON_COLUMNS:
        if plain[name] is not None:
            plain[name] = json.dumps(plain[name], ensure_ascii=False)
    return plain


def _in(item: Mapping[str, Any]) -> dict[str, Any]:
    """An object without the columns that are empty in this row."""
    plain = {name: value for name, value in item.items() if value is not None}
    for name in JSON_COLUMNS:
        if isinstance(plain.get(name), str):
            plain[name] = json.loads(plain[name])
    return plain

"""A router model's folder: written whole, each file named by its sha256.

    RouterModel + tokenizer -> encoder.onnx, encoder.json, tokenizer.json, training.json, checksums.json
    calibration, card -> the same folder, checksums.json anew

Promise: files are written aside and renamed, checksums last; a folder that was cut off is refused by the encoder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from expert_system.training.router.model import RouterModel

CHECKSUMS_FILE = "checksums.json"


def write_model(
    folder: Path,
    model: RouterModel,
    *,
    labels: Mapping[str, Sequence[str]],
    tokenizer: bytes,
    max_tokens: int,
    about: Mapping[str, Any],
) -> None:
    """Write the encoder; a calibration of an earlier encoder is removed, since it would not fit."""
    from expert_system.training.router.graph import onnx_bytes

    shape = {
        "schema_version": "1",
        "version": folder.name,
        "dimension": model.projection.out_features,
        "max_tokens": max_tokens,
        "heads": {head: list(names) for head, names in labels.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "calibration.json").unlink(missing_ok=True)
    write_files(
        folder,
        {
            "encoder.onnx": onnx_bytes(model, max_tokens),
            "encoder.json": json_bytes(shape),
            "tokenizer.json": tokenizer,
            "training.json": json_bytes(about),
        },
    )


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a model's folder and its checksums over all that is there."""
    for name, content in files.items():
        _write(folder / name, content)
    present = sorted(path for path in folder.iterdir() if path.is_file() and path.name != CHECKSUMS_FILE)
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in present}
    _write(folder / CHECKSUMS_FILE, json_bytes(sums))


def json_bytes(content: Any) -> bytes:
    """As JSON is written here: UTF-8, two spaces, a final new line."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _write(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_bytes(content)
    aside.replace(path)

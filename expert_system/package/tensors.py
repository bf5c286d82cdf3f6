"""Headers of safetensors files, read without their data (formats.md 2.4).

    file -> header (bounded) -> Tensor, Tensor, …

Promise: what comes back covers the file's data exactly, without gaps or overlaps, in known types.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expert_system.errors import PackageError

MAX_HEADER_BYTES = 16 * 1024 * 1024
MAX_TENSORS = 100_000
MAX_DIMENSIONS = 8
_LENGTH_BYTES = 8
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
              "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}  # fmt: skip
"""Bytes of one value, by safetensors' name of the type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One entry of a header; `start` and `end` are offsets in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_tensors(file: Path) -> tuple[Tensor, ...]:
    """The tensors of a file, sorted by name (by code points).

    Raises:
        PackageError: not a safetensors file, or one whose header does not describe its data.
    """
    try:
        with file.open("rb") as stream:
            size = file.stat().st_size
            prefix = stream.read(_LENGTH_BYTES)
            length = int.from_bytes(prefix, "little")
            if len(prefix) < _LENGTH_BYTES or not 0 < length <= min(MAX_HEADER_BYTES, size - _LENGTH_BYTES):
                raise PackageError(f"{file}: not a safetensors file, or its header is above {MAX_HEADER_BYTES} bytes")
            header = stream.read(length)
    except OSError as error:
        raise PackageError(f"{file}: cannot be read: {error.strerror}") from None
    return parse_header(header, data_start=_LENGTH_BYTES + length, file_size=size, where=str(file))


def parse_tensors(data: bytes | memoryview, where: str) -> tuple[Tensor, ...]:
    """The same for a file that is in memory already."""
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if len(data) < _LENGTH_BYTES or not 0 < length <= min(MAX_HEADER_BYTES, len(data) - _LENGTH_BYTES):
        raise PackageError(f"{where}: not a safetensors file, or its header is above {MAX_HEADER_BYTES} bytes")
    header = bytes(data[_LENGTH_BYTES : _LENGTH_BYTES + length])
    return parse_header(header, data_start=_LENGTH_BYTES + length, file_size=len(data), where=where)


def parse_header(header: bytes, *, data_start: int, file_size: int, where: str) -> tuple[Tensor, ...]:
    """Check a header's JSON against the size of the data that follows it."""
    try:
        entries = json.loads(header.decode("utf-8"), object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise PackageError(f"{where}: the safetensors header is not JSON: {error}") from None
    if not isinstance(entries, dict):
        raise PackageError(f"{where}: the safetensors header is not an object")
    entries.pop("__metadata__", None)
    if len(entries) > MAX_TENSORS:
        raise PackageError(f"{where}: more than {MAX_TENSORS} tensors")
    tensors = [_tensor(name, entry, data_start, where) for name, entry in entries.items()]
    reached = data_start
    for tensor in sorted(tensors, key=lambda tensor: (tensor.start, tensor.end)):
        if tensor.start != reached:
            raise PackageError(f"{where}: tensor {tensor.name!r} overlaps another or leaves a gap")
        reached = tensor.end
    if reached != file_size:
        raise PackageError(
            f"{where}: the header describes {reached} bytes, the file has {file_size}; it is cut or padded"
        )
    return tuple(sorted(tensors, key=lambda tensor: tensor.name))


def _tensor(name: str, entry: Any, data_start: int, where: str) -> Tensor:
    if not isinstance(entry, Mapping) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise PackageError(f"{where}: tensor {name!r} needs exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise PackageError(f"{where}: tensor {name!r} has unknown type {dtype!r}")
    if not _counts(shape) or len(shape) > MAX_DIMENSIONS:
        raise PackageError(f"{where}: tensor {name!r} has no readable shape")
    if not _counts(offsets) or len(offsets) != 2 or offsets[1] - offsets[0] != math.prod(shape) * ITEM_BYTES[dtype]:
        raise PackageError(f"{where}: tensor {name!r} has {offsets} bytes for {dtype} {shape}")
    return Tensor(
        name=name, dtype=dtype, shape=tuple(shape), start=data_start + offsets[0], end=data_start + offsets[1]
    )


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**48 for value in values)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found

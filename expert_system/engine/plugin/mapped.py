"""An expert's weights as a worker sees them: a private map of its host file, arranged by layer.

    host file -> tensors by module -> table: one row a slice, with addresses for the kernel

Promise: the bytes are shared with every set and every process that uses the expert; nothing is copied unless
tensor parallelism cuts a slice out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file

from expert_system.engine.plugin.geometry import Layer, Slice

COLUMNS = 6
"""Numbers in a row of the table: addresses of A, B transposed, rank, DoRA gate, IA³ gate, 0."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one expert does to one slice; every tensor contiguous and of the engine's adapter dtype.

    Shapes: a (r, inputs), b (r, outputs) with the scale in it, gates (outputs,) as their difference from 1.
    """

    a: torch.Tensor | None = None
    b: torch.Tensor | None = None
    dora: torch.Tensor | None = None
    ia3_out: torch.Tensor | None = None


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class MappedExpert:
    """One expert in this worker's memory."""

    path: Path
    parts: Mapping[int, Part]
    """By row of a slice; rows that the expert does not touch are absent."""
    inputs: Mapping[int, torch.Tensor]
    """Input gates as their difference from 1, by index of a layer; shape (inputs,)."""
    table: torch.Tensor
    """Shape (rows, COLUMNS), int64, for the compiled kernel; addresses into `parts`."""
    tensors: Mapping[str, torch.Tensor] = field(repr=False)
    """Everything in the host file under its canonical name, whole."""
    size_bytes: int


def map_expert(path: Path, layers: Sequence[Layer]) -> MappedExpert:
    """Map a host file and arrange it by layer."""
    tensors = load_file(path)
    rows = max(part.row for layer in layers for part in layer.slices) + 1
    table = torch.zeros((rows, COLUMNS), dtype=torch.int64)
    numbers: list[list[int]] = [[0] * COLUMNS for _ in range(rows)]
    parts: dict[int, Part] = {}
    inputs: dict[int, torch.Tensor] = {}
    for layer in layers:
        for piece in layer.slices:
            part = _part(tensors, layer, piece)
            if part is None:
                continue
            parts[piece.row] = part
            numbers[piece.row] = [
                _address(part.a),
                _address(part.b),
                0 if part.a is None else part.a.shape[0],
                _address(part.dora),
                _address(part.ia3_out),
                0,
            ]
        gate = tensors.get(f"{layer.slices[0].module}.ia3_in")
        if gate is not None:
            inputs[layer.index] = layer.inputs(gate).contiguous()
    table.copy_(torch.tensor(numbers, dtype=torch.int64))
    return MappedExpert(path, parts, inputs, table, tensors, path.stat().st_size)


def _part(tensors: Mapping[str, torch.Tensor], layer: Layer, piece: Slice) -> Part | None:
    a, b = tensors.get(f"{piece.module}.a"), tensors.get(f"{piece.module}.b")
    dora, ia3 = tensors.get(f"{piece.module}.dora"), tensors.get(f"{piece.module}.ia3_out")
    if a is None and ia3 is None:
        return None
    return Part(
        None if a is None else layer.inputs(a).contiguous(),
        None if b is None else layer.outputs(piece, b).contiguous(),
        None if dora is None else layer.outputs(piece, dora).contiguous(),
        None if ia3 is None else layer.outputs(piece, ia3).contiguous(),
    )


def _address(tensor: torch.Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()

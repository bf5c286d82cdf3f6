"""An expert's weights as a worker sees them: a private map of its host file, arranged by layer.

    host file -> map -> table: one row a slice, with addresses for the kernel

Promise: the bytes are shared with every set and every process that uses the expert; nothing is copied, and no tensor
is made before somebody asks for it, unless tensor parallelism cuts a slice out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from expert_system.engine.plugin.geometry import Layer, Sharding, Slice

COLUMNS = 6
"""Numbers in a row of the table: addresses of A, B transposed, rank, DoRA gate, IA³ gate, 0."""
_TYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}


@dataclass(frozen=True, slots=True)
class Part:
    """What one expert does to one slice; every tensor contiguous and of the engine's adapter dtype.

    Shapes: a (r, inputs), b (r, outputs) with the scale in it, gates (outputs,) as their difference from 1.
    """

    a: torch.Tensor | None = None
    b: torch.Tensor | None = None
    dora: torch.Tensor | None = None
    ia3_out: torch.Tensor | None = None


class MappedTensors(Mapping[str, torch.Tensor]):
    """The tensors of a host file by canonical name; each is a view of the map, made when it is asked for.

    Host files are this node's own and were written from checked weights, so the header is taken at its word.
    """

    def __init__(self, path: Path) -> None:
        """Map the file; pages are read when they are touched."""
        self.size_bytes = path.stat().st_size
        self._bytes = torch.from_file(str(path), shared=False, size=self.size_bytes, dtype=torch.uint8)
        length = int.from_bytes(self._bytes[:8].numpy().tobytes(), "little")
        self._start = 8 + length
        self._entries = json.loads(self._bytes[8 : self._start].numpy().tobytes())
        self._entries.pop("__metadata__", None)
        self._address = self._bytes.data_ptr() + self._start

    def address(self, name: str) -> int:
        """Where the tensor's data begins in this process's memory, 0 when there is none of this name."""
        entry = self._entries.get(name)
        return 0 if entry is None else self._address + entry["data_offsets"][0]

    def rows(self, name: str) -> int:
        """The first dimension of a tensor, 0 when there is none of this name."""
        entry = self._entries.get(name)
        return 0 if entry is None else int(entry["shape"][0])

    def __getitem__(self, name: str) -> torch.Tensor:
        """The tensor as a view."""
        entry = self._entries[name]
        begin, end = entry["data_offsets"]
        return self._bytes[self._start + begin : self._start + end].view(_TYPES[entry["dtype"]]).view(entry["shape"])

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._entries)

    def __len__(self) -> int:
        """How many tensors there are."""
        return len(self._entries)


class MappedExpert:
    """One expert in this worker's memory."""

    def __init__(self, path: Path, layers: Sequence[Layer]) -> None:
        """Map a host file and arrange it by layer."""
        self.path = path
        self.tensors = MappedTensors(path)
        """Everything in the host file under its canonical name, whole."""
        self._layers = layers
        self.inputs: Mapping[int, torch.Tensor] = {
            layer.index: layer.inputs(self.tensors[name]).contiguous()
            for layer in layers
            if (name := f"{layer.slices[0].module}.ia3_in") in self.tensors
        }
        """Input gates as their difference from 1, by index of a layer; shape (inputs,)."""
        rows = [[0] * COLUMNS for _ in range(1 + max(piece.row for layer in layers for piece in layer.slices))]
        for layer in layers:
            for piece in layer.slices:
                rows[piece.row] = self._row(layer, piece)
        self.table = torch.tensor(rows, dtype=torch.int64)
        """Shape (rows, COLUMNS), int64, for the compiled kernel; addresses into the map or into `parts`."""

    @property
    def size_bytes(self) -> int:
        """Bytes of the host file."""
        return self.tensors.size_bytes

    @cached_property
    def parts(self) -> Mapping[int, Part]:
        """Tensors by row of a slice; rows that the expert does not touch are absent."""
        return {
            piece.row: part
            for layer in self._layers
            for piece in layer.slices
            if (part := _part(self.tensors, layer, piece)) is not None
        }

    def _row(self, layer: Layer, piece: Slice) -> list[int]:
        found = self.tensors
        a, b, dora, ia3 = (f"{piece.module}.{kind}" for kind in ("a", "b", "dora", "ia3_out"))
        if layer.sharding is Sharding.NONE:
            return [found.address(a), found.address(b), found.rows(a), found.address(dora), found.address(ia3), 0]
        part = self.parts.get(piece.row, Part())
        rank = 0 if part.a is None else part.a.shape[0]
        return [_address(part.a), _address(part.b), rank, _address(part.dora), _address(part.ia3_out), 0]


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

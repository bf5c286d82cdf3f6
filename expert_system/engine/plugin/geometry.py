"""Where each module of an adapter lies inside the model's packed layers.

    wrapped layers of the model -> Layer(index, slices) -> rows of an expert's table

vLLM packs q, k and v into one layer and gate and up into another; an adapter names them one by one. A slice is
one such module: a range of the packed layer's output, here the part of this tensor-parallel rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import torch


class Sharding(Enum):
    """How a layer is split over tensor-parallel ranks."""

    NONE = "none"
    OUTPUTS = "outputs"
    INPUTS = "inputs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One module of an adapter inside a packed layer; sizes are those of this rank."""

    module: str
    """The checkpoint's name, such as `model.layers.0.self_attn.q_proj`."""
    row: int
    """Its row in every expert's table."""
    offset: int
    size: int
    shard: int
    """Which share of the module's outputs this rank holds (replicated key/value heads make it differ from the rank)."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One wrapped linear layer."""

    index: int
    name: str
    slices: tuple[Slice, ...]
    sharding: Sharding
    input_size: int
    rank: int

    def inputs(self, tensor: torch.Tensor) -> torch.Tensor:
        """This rank's part of a tensor whose last dimension is the layer's whole input."""
        if self.sharding is not Sharding.INPUTS:
            return tensor
        start = self.rank * self.input_size
        return tensor[..., start : start + self.input_size]

    def outputs(self, part: Slice, tensor: torch.Tensor) -> torch.Tensor:
        """This rank's part of a tensor whose last dimension is the module's whole output."""
        if self.sharding is not Sharding.OUTPUTS:
            return tensor
        start = part.shard * part.size
        return tensor[..., start : start + part.size]

    @cached_property
    def layout(self) -> torch.Tensor:
        """Slices for the kernel, shape (1 + 3 n,), int64: n, then row, offset and size of each."""
        numbers = [len(self.slices)]
        for part in self.slices:
            numbers += [part.row, part.offset, part.size]
        return torch.tensor(numbers, dtype=torch.int64)

"""One packed layer and experts on it, for tests of the arithmetic without an engine."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from expert_system.engine.plugin.geometry import Layer, Sharding, Slice
from expert_system.engine.plugin.mapped import MappedExpert

INPUTS = 96
SIZES = {"q": 64, "k": 32, "v": 48}


def layer() -> Layer:
    """One packed layer of three slices."""
    slices, offset = [], 0
    for row, (module, size) in enumerate(SIZES.items()):
        slices.append(Slice(module=module, row=row, offset=offset, size=size, shard=0))
        offset += size
    return Layer(index=0, name="qkv", slices=tuple(slices), sharding=Sharding.NONE, input_size=INPUTS, rank=0)


def expert(folder: Path, seed: int, dtype: torch.dtype, *, rank: int, dora: bool, ia3: bool) -> MappedExpert:
    """An expert on two of the three slices, mapped from a host file."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for module in ("q", "v"):
        if rank:
            tensors[f"{module}.a"] = torch.randn(rank, INPUTS, generator=generator) / 10
            tensors[f"{module}.b"] = torch.randn(rank, SIZES[module], generator=generator) / 10
        if dora:
            tensors[f"{module}.dora"] = torch.randn(SIZES[module], generator=generator) / 5
        if ia3:
            tensors[f"{module}.ia3_out"] = torch.randn(SIZES[module], generator=generator) / 5
    path = folder / f"{seed}.safetensors"
    save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, path)
    return MappedExpert(path, [layer()])

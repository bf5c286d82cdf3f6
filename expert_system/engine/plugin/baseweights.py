"""The base's files as adapters are checked against them: shapes of its linear layers, and rows for DoRA's norms."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load, save

from expert_system.engine.plugin.adapter import BaseShapes
from expert_system.package.base import BaseDescription, describe_base
from expert_system.package.tensors import read_tensors

_NOT_LINEAR = ("embed_tokens", "lm_head")


@cache
def description(base: Path) -> BaseDescription:
    """What the base in this folder is."""
    return describe_base(base)


@cache
def shapes(base: Path) -> BaseShapes:
    """The shapes of the base's linear modules, read from its safetensors headers."""
    linear: dict[str, tuple[int, int]] = {}
    for file in _files(base):
        for tensor in read_tensors(file):
            module, _, kind = tensor.name.rpartition(".")
            if kind == "weight" and len(tensor.shape) == 2 and module.rpartition(".")[2] not in _NOT_LINEAR:
                linear[module] = (tensor.shape[0], tensor.shape[1])
    return BaseShapes(linear=linear, hidden_size=description(base).architecture.hidden_size)


@cache
def _files(base: Path) -> tuple[Path, ...]:
    return tuple(sorted(base.resolve().glob("*.safetensors")))


@cache
def _file_of(base: Path) -> dict[str, Path]:
    return {tensor.name: file for file in _files(base) for tensor in read_tensors(file)}


class RowNorms:
    """Norms of the rows of W + change, in FP32 from the base's own files, or as they were kept (vllm.md, Decided 6)."""

    def __init__(self, base: Path) -> None:
        """Read from this base's folder."""
        self._base = base
        self._norms: dict[str, torch.Tensor] = {}
        self.computed = False
        """Whether any norm had to be computed."""

    def load(self, kept: bytes | None) -> None:
        """Take over norms that `dump` wrote."""
        self._norms = {} if kept is None else load(kept)

    def dump(self) -> bytes:
        """All norms, by module, as safetensors."""
        return save(self._norms)

    def __call__(self, module: str, change: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Return the norms, shape (outputs,); `change` gives what is added to the weight, in the weight's shape."""
        if module not in self._norms:
            name = f"{module}.weight"
            with safe_open(_file_of(self._base)[name], framework="pt") as file:
                weight: torch.Tensor = file.get_tensor(name)
            self._norms[module] = torch.linalg.vector_norm(weight.float() + change(), dim=1)
            self.computed = True
        return self._norms[module]

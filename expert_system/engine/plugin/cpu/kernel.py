"""The adapter arithmetic of the CPU: the fused kernel where it was built, else the reference in torch."""

from __future__ import annotations

import os
from functools import cache

import torch

from expert_system.engine.plugin.cpu import build, reference
from expert_system.engine.plugin.cpu.lanes import Lanes
from expert_system.engine.plugin.geometry import Layer

VARIABLE = "EXPERT_KERNEL"
"""Set to "reference" to run the torch reference although the fused kernel is there, as the tests do."""
_TYPES = (torch.bfloat16, torch.float32)


@cache
def fused() -> bool:
    """Whether this process runs the fused kernel; loads it the first time."""
    if os.environ.get(VARIABLE) == "reference" or not build.library().exists():
        return False
    torch.ops.load_library(build.library())
    return True


def apply(y: torch.Tensor, x: torch.Tensor, bias: torch.Tensor | None, layer: Layer, lanes: Lanes) -> None:
    """Gate the base's output and add the experts' deltas, in place; shapes as in `reference.apply`."""
    if fused() and y.dtype in _TYPES:
        torch.ops.expert_system.apply(y, x.contiguous(), bias, layer.layout, lanes.packed)
    else:
        reference.apply(y, x, bias, layer, lanes)


def gate_inputs(x: torch.Tensor, layer: Layer, lanes: Lanes) -> torch.Tensor:
    """The layer's input as the base's weights shall see it."""
    return reference.gate_inputs(x, layer, lanes)

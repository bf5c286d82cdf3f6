"""Compose experts into the one adapter that vLLM's own slots hold: stacked ranks.

    experts + weights -> A = [A_1; A_2; …], B = [w_1 B_1, w_2 B_2, …] -> LoRAModel

Promise: composition is exact. B A is the sum of the experts' deltas, the base's weights stay untouched. The scales
are inside B already (`adapter.py`). On the CPU nothing is stacked: the slot refers to the same parts by address.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from vllm.lora.lora_model import LoRAModel
from vllm.lora.lora_weights import LoRALayerWeights

from expert_system.engine.plugin.geometry import Layer
from expert_system.engine.plugin.mapped import MappedExpert

Stacked = tuple[torch.Tensor, torch.Tensor]


def stack(members: Sequence[tuple[Mapping[str, torch.Tensor], float]], module: str) -> Stacked | None:
    """Stack what the members do to one module.

    Args:
        members: each expert's canonical tensors with its weight in the set.
        module: the checkpoint's name of the module.

    Returns:
        A of shape (sum of ranks, inputs) and B of shape (outputs, sum of ranks), or None when no member adapts it.
    """
    ranked = [
        (tensors[f"{module}.a"], weight * tensors[f"{module}.b"])
        for tensors, weight in members
        if f"{module}.a" in tensors
    ]
    if not ranked:
        return None
    return torch.cat([a for a, _ in ranked]), torch.cat([b for _, b in ranked]).t().contiguous()


def native_model(set_id: int, members: Sequence[tuple[MappedExpert, float]], layers: Sequence[Layer]) -> LoRAModel:
    """The set in vLLM's own form, module by module; vLLM packs and shards it as it does every adapter."""
    weights: dict[str, LoRALayerWeights] = {}
    rank = 0
    for layer in layers:
        for piece in layer.slices:
            stacked = stack([(expert.tensors, weight) for expert, weight in members], piece.module)
            if stacked is None:
                continue
            a, b = stacked
            rank = max(rank, a.shape[0])
            # The scale is in B, so alpha equals the rank and vLLM's own scaling is 1.
            weights[piece.module] = LoRALayerWeights(piece.module, a.shape[0], a.shape[0], a, b)
    return LoRAModel(set_id, rank, weights)

"""Gates on an accelerator: static buffers with one row a slot, gathered by token as the kernels gather adapters.

    slot -> rows of (dora, ia3_out, ia3_in) -> gathered by token -> around the base's own product

The last row of every buffer is the identity, for tokens without experts. Buffers keep their addresses and the code
has no branch on what is in them, so it can be captured in a CUDA graph. They exist only when the engine was started
with gates (`GATES_VARIABLE`); without, sets that need them are refused before they reach a worker. On the CPU the
fused kernel does the gates, and none of this is used. No GPU has run this yet (docs/PERFORMANCE.md).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA

from expert_system.engine.plugin.geometry import Layer
from expert_system.engine.plugin.mapped import MappedExpert

GATES_VARIABLE = "EXPERT_GATES"
"""Set to 1 before the engine starts to allocate gate buffers on an accelerator."""


@dataclass(frozen=True, slots=True)
class LayerGates:
    """The buffers of one packed layer; shapes (slots + 1, outputs), (slots + 1, outputs), (slots + 1, inputs)."""

    dora: torch.Tensor
    ia3_out: torch.Tensor
    ia3_in: torch.Tensor

    @classmethod
    def identity(cls, slots: int, outputs: int, inputs: int, like: torch.Tensor) -> LayerGates:
        """Buffers that change nothing, on the device and in the type of `like`."""
        return cls(*(like.new_ones(slots + 1, width) for width in (outputs, outputs, inputs)))

    def fill(self, slot: int, layer: Layer, members: Sequence[tuple[MappedExpert, float]]) -> None:
        """Write a set's gates into a slot: DoRA's differences add up, IA³'s factors multiply."""
        self.clear(slot)
        for expert, weight in members:
            for piece in layer.slices:
                part = expert.parts.get(piece.row)
                if part is None:
                    continue
                columns = slice(piece.offset, piece.offset + piece.size)
                if part.dora is not None:
                    self.dora[slot, columns] += weight * part.dora.to(self.dora)
                if part.ia3_out is not None:
                    self.ia3_out[slot, columns] *= 1.0 + weight * part.ia3_out.to(self.ia3_out)
            difference = expert.inputs.get(layer.index)
            if difference is not None:
                self.ia3_in[slot] *= 1.0 + weight * difference.to(self.ia3_in)

    def clear(self, slot: int) -> None:
        """Make a slot the identity again."""
        for buffer in (self.dora, self.ia3_out, self.ia3_in):
            buffer[slot] = 1.0

    def product(self, layer: Any, x: torch.Tensor, bias: torch.Tensor | None, slots: torch.Tensor) -> torch.Tensor:
        """The base's product with the gates around it; DoRA leaves the bias out, IA³ scales it, as PEFT does.

        Args:
            layer: vLLM's wrapped layer.
            x: shape (tokens, inputs).
            bias: shape (outputs,), or None.
            slots: the slot of each token, -1 for none; shape (tokens,).
        """
        rows = torch.where(slots < 0, self.dora.shape[0] - 1, slots)
        output: torch.Tensor = layer.quant_method.apply(layer, x * self.ia3_in[rows], None)
        output = output * self.dora[rows]
        if bias is not None:
            output = output + bias
        return output * self.ia3_out[rows]


def enabled() -> bool:
    """Whether this engine was started with gate buffers."""
    return os.environ.get(GATES_VARIABLE) == "1"


def install() -> None:
    """Put the gates around the base's product in vLLM's wrapped linear layers.

    Raises:
        ValueError: vLLM was told to compute adapters on a second stream, which bypasses the product.
    """
    from vllm import envs

    if envs.VLLM_LORA_ENABLE_DUAL_STREAM:
        raise ValueError("VLLM_LORA_ENABLE_DUAL_STREAM bypasses the experts' gates; start without it")
    BaseLinearLayerWithLoRA._apply_sync = _apply_sync


def _apply_sync(self: Any, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    flat = x.flatten(0, 1) if x.ndim == 3 else x
    # The wrapper's own buffer, whose address stays the same from step to step.
    slots = self.punica_wrapper._token_lora_indices[: flat.shape[0]]
    output = self.expert_gates.product(self.base_layer, flat, bias, slots)
    adapted: torch.Tensor = self._apply_lora_to_output(flat, output)
    return adapted.view(*x.shape[:-1], adapted.shape[-1])


def needs_gates(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether an expert's canonical tensors hold any gate."""
    return any(name.endswith((".dora", ".ia3_out", ".ia3_in")) for name in tensors)

"""What the wrapped linear layers do differently on the CPU: no slot buffers, and lanes instead of punica kernels.

    x -> input gates -> base's own product -> output gates + deltas -> y

Promise: in a step without experts a layer calls the base's product and returns, nothing else.
"""

from __future__ import annotations

from typing import Any

import torch
from vllm.lora.layers import base_linear
from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
from vllm.lora.layers.column_parallel_linear import MergedColumnParallelLinearWithLoRA

from expert_system.engine.plugin.cpu import kernel
from expert_system.engine.plugin.cpu.lanes import Lanes


def install_cpu() -> None:
    """Replace buffers and arithmetic of vLLM's wrapped linear layers in this process."""
    BaseLinearLayerWithLoRA.create_lora_weights = _no_buffers
    MergedColumnParallelLinearWithLoRA.create_lora_weights = _no_buffers
    BaseLinearLayerWithLoRA._apply_sync = _apply_sync
    BaseLinearLayerWithLoRA._apply_base_forward = _apply_base_forward
    # The CPU's INT8 kernel re-packs `weight` to None, so asking the weight for its device fails.
    base_linear._get_lora_device = lambda base_layer: torch.device("cpu")


def _no_buffers(self: Any, max_loras: int, lora_config: Any, model_config: Any = None) -> None:
    self.lora_config = lora_config
    self.lora_a_stacked = self.lora_b_stacked = ()
    if not isinstance(self, MergedColumnParallelLinearWithLoRA):
        self.output_slices = (self.output_size,)


def _apply_sync(self: Any, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    lanes: Lanes | None = self.punica_wrapper.lanes
    base = self.base_layer
    if lanes is None:
        output: torch.Tensor = base.quant_method.apply(base, x, bias)
        return output
    output = base.quant_method.apply(base, _gated(self, x, lanes), bias)
    return _adapted(self, x, output, bias, lanes)


def _apply_base_forward(self: Any, x: torch.Tensor) -> torch.Tensor:
    lanes: Lanes | None = self.punica_wrapper.lanes
    computed = self.base_layer(x if lanes is None else _gated(self, x, lanes))
    output: torch.Tensor = computed[0] if isinstance(computed, tuple) else computed
    return output if lanes is None else _adapted(self, x, output, self.base_layer.bias, lanes)


def _gated(self: Any, x: torch.Tensor, lanes: Lanes) -> torch.Tensor:
    if self.expert_layer.index not in lanes.gated_inputs:
        return x
    return kernel.gate_inputs(x.view(-1, x.shape[-1]), self.expert_layer, lanes).view_as(x)


def _adapted(self: Any, x: torch.Tensor, output: torch.Tensor, bias: torch.Tensor | None, lanes: Lanes) -> torch.Tensor:
    # The transformers backend adds a leading dimension of one.
    flat = output.flatten(0, 1) if output.ndim == 3 else output
    if bias is not None:
        bias = bias.to(flat.dtype)  # the base's packed product keeps its bias in FP32
    kernel.apply(flat, x.flatten(0, 1) if x.ndim == 3 else x, bias, self.expert_layer, lanes)
    return flat.view(output.shape)

"""DoRA's norms from its two factors, without multiplying them out.

    base weight W (d_out, d_in), A (r, d_in), B (d_out, r), scale s -> norm of each row of W + s B A

Promise: what a layer gives and what its parameters learn are PEFT's to rounding; only the time differs. PEFT builds
B A and adds it to W in every pass, some passes over each weight of the base; from the factors a step takes one thin
product (decisions/0013).
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.dora import DoraLinearLayer


def factor_norms(model: Any) -> None:
    """Let every DoRA layer of a model that was not trained yet take its norms from the factors.

    Magnitudes start anew as the norms of the base's rows, in FP32. Layers over a quantised weight stay PEFT's.
    """
    for module in [module for module in model.modules() if isinstance(module, LoraLayer)]:
        weight = module.get_base_layer().weight
        for name, layer in list(module.lora_magnitude_vector.items()):
            if type(layer) is DoraLinearLayer and not layer.fan_in_fan_out and weight.is_floating_point():
                module.lora_magnitude_vector[name] = FactoredDora(weight)


def row_norms(
    squares: torch.Tensor, weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float
) -> torch.Tensor:
    """Norm of each row of `weight + scale * b @ a`.

    Args:
        squares: (d_out,), sum of squares of each row of `weight`.
        weight: (d_out, d_in).
        a: (r, d_in).
        b: (d_out, r).
        scale: of the product.

    Returns:
        (d_out,), in the type of `squares`.
    """
    across = (weight @ a.T * b).sum(1)
    added = (b @ (a @ a.T) * b).sum(1)
    return (squares + 2 * scale * across + scale * scale * added).clamp_min(0).sqrt()


class FactoredDora(DoraLinearLayer):
    """PEFT's layer with `row_norms` instead of its own."""

    squares: torch.Tensor

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__(fan_in_fan_out=False)
        self.register_buffer("squares", weight.detach().float().square().sum(1), persistent=False)
        self.weight = torch.nn.Parameter(self.squares.sqrt())

    def forward(self, x: torch.Tensor, **given: Any) -> torch.Tensor:
        """What DoRA adds to the base layer's output; `given` under PEFT's names."""
        base_result = given.get("base_result")
        if base_result is None:  # dropout: the output at hand is of another input
            result: torch.Tensor = super().forward(x, **given)
            return result
        a, b, scale, base_layer = given["lora_A"], given["lora_B"], given["scaling"], given["base_layer"]
        with torch.no_grad():  # the paper's section 4.3: the norm is a constant to the gradient
            norms = row_norms(self.squares, base_layer.weight, a.weight.to(x.dtype), b.weight.to(x.dtype), scale)
        ratio = self.weight / norms
        if base_layer.bias is not None:
            base_result = base_result - base_layer.bias
        # The vectors take the activations' type: a row of them in FP32 would make all that follows FP32.
        added = b(a(x)) * (ratio * scale).to(base_result.dtype)
        return base_result * (ratio - 1).to(base_result.dtype) + added

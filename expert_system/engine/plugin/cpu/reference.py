"""The adapter arithmetic in plain torch: what runs where no compiler built the fused kernel.

    y = b + G_out * (W (G_in * x)) + sum of w_i D_i x      (docs/ARCHITECTURE.md, the canonical form)

Held to correctness only; the fused kernel of `kernel.cpp` is held to give the same.
"""

from __future__ import annotations

import torch

from expert_system.engine.plugin.cpu.lanes import Lanes
from expert_system.engine.plugin.geometry import Layer


def apply(y: torch.Tensor, x: torch.Tensor, bias: torch.Tensor | None, layer: Layer, lanes: Lanes) -> None:
    """Gate the base's output and add the experts' deltas, in place.

    Args:
        y: what the base computed, shape (tokens, outputs of the packed layer).
        x: the layer's input before any input gate, shape (tokens, inputs).
        bias: the base's bias, already inside `y`.
        layer: where the slices lie.
        lanes: whose rows are whose.
    """
    for lane in lanes.lanes:
        seen = x[lane.rows].float()
        for piece in layer.slices:
            columns = slice(piece.offset, piece.offset + piece.size)
            held = [
                (part, weight)
                for expert, weight in lane.held.members
                if (part := expert.parts.get(piece.row)) is not None
            ]
            if not held:
                continue
            out = y[lane.rows, columns].float()
            dora = torch.ones(piece.size)
            ia3 = torch.ones(piece.size)
            delta = torch.zeros_like(out)
            for part, weight in held:
                if part.dora is not None:
                    dora += weight * part.dora.float()
                if part.ia3_out is not None:
                    ia3 *= 1.0 + weight * part.ia3_out.float()
                if part.a is not None and part.b is not None:
                    delta += weight * ((seen @ part.a.float().t()) @ part.b.float())
            base = 0.0 if bias is None else bias[columns].float()
            y[lane.rows, columns] = (ia3 * (dora * (out - base) + base) + delta).to(y.dtype)


def gate_inputs(x: torch.Tensor, layer: Layer, lanes: Lanes) -> torch.Tensor:
    """Return the input as the base's weights shall see it: a copy with the gated rows scaled."""
    gated = x.clone()
    for lane in lanes.lanes:
        gate: torch.Tensor | None = None
        for expert, weight in lane.held.members:
            difference = expert.inputs.get(layer.index)
            if difference is not None:
                factor = 1.0 + weight * difference.float()
                gate = factor if gate is None else gate * factor
        if gate is not None:
            gated[lane.rows] = (x[lane.rows].float() * gate).to(x.dtype)
    return gated

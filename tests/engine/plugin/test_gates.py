"""The accelerator's gate buffers, computed on the CPU: the same arithmetic as the reference, with rows by slot."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from parts import INPUTS, SIZES, expert, layer

from expert_system.engine.plugin.compose import stack
from expert_system.engine.plugin.cpu import reference
from expert_system.engine.plugin.cpu.lanes import SlotSet, lanes_of
from expert_system.engine.plugin.gates import LayerGates


def linear(weight: torch.Tensor) -> Any:
    """A layer with vLLM's interface around one weight."""
    product = SimpleNamespace(apply=lambda layer, x, bias: torch.nn.functional.linear(x, weight, bias))
    return SimpleNamespace(quant_method=product)


@pytest.mark.parametrize("with_bias", [False, True])
def test_gate_buffers_and_stacked_ranks_give_what_the_reference_gives(tmp_path: Path, with_bias: bool) -> None:
    """A3: buffers by slot, identity for tokens without experts; with the stacked ranks they are the canonical form."""
    generator = torch.Generator().manual_seed(3)
    outputs = sum(SIZES.values())
    weight = torch.randn(outputs, INPUTS, generator=generator) / 10
    bias = torch.randn(outputs, generator=generator) if with_bias else None
    x = torch.randn(6, INPUTS, generator=generator)
    slots = [0, -1, 1, 1, 0, -1]
    members = [
        ((expert(tmp_path, 1, torch.float32, rank=3, dora=True, ia3=False), 0.7),),
        (
            (expert(tmp_path, 2, torch.float32, rank=5, dora=True, ia3=False), 1.0),
            (expert(tmp_path, 3, torch.float32, rank=0, dora=False, ia3=True), 1.3),
        ),
    ]
    buffers = LayerGates.identity(2, outputs, INPUTS, weight)
    for slot, held in enumerate(members):
        buffers.fill(slot, layer(), held)
    found = buffers.product(linear(weight), x, bias, torch.tensor(slots))
    for row, slot in enumerate(slots):
        for piece in layer().slices:
            stacked = stack([(e.tensors, w) for e, w in members[slot]], piece.module) if slot >= 0 else None
            if stacked is not None:
                a, b = stacked
                found[row, piece.offset : piece.offset + piece.size] += b @ (a @ x[row])

    expected = torch.nn.functional.linear(x, weight, bias)
    lanes = lanes_of(slots, [SlotSet(held) for held in members])
    assert lanes is not None
    reference.apply(expected, x, bias, layer(), lanes)

    assert torch.allclose(found, expected, atol=1e-5)
    buffers.clear(1)
    assert all(torch.equal(buffer[1], torch.ones_like(buffer[1])) for buffer in (buffers.dora, buffers.ia3_out))


def test_stacked_ranks_are_the_weighted_sum_of_the_deltas(tmp_path: Path) -> None:
    """A2, deliver 2: B A of the stack equals the sum of w_i B_i A_i, exactly as PEFT adds them."""
    first = expert(tmp_path, 4, torch.float32, rank=4, dora=False, ia3=False)
    second = expert(tmp_path, 5, torch.float32, rank=9, dora=False, ia3=False)
    stacked = stack([(first.tensors, 0.5), (second.tensors, 2.0)], "q")
    assert stacked is not None
    a, b = stacked

    wanted = (
        0.5 * first.tensors["q.b"].t() @ first.tensors["q.a"] + 2.0 * second.tensors["q.b"].t() @ second.tensors["q.a"]
    )

    assert a.shape == (13, INPUTS)
    assert torch.allclose(b @ a, wanted, atol=1e-6)
    assert stack([(first.tensors, 1.0)], "k") is None

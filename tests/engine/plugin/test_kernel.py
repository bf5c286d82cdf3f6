"""The fused kernel against the reference in torch, without an engine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from parts import INPUTS, SIZES, expert, layer

from expert_system.engine.plugin.cpu import build, kernel, reference
from expert_system.engine.plugin.cpu.lanes import Lanes, SlotSet, lanes_of

pytestmark = pytest.mark.skipif(build.compiler() is None, reason="this machine has no C++ compiler")


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    assert build.build() is not None


def step(folder: Path, dtype: torch.dtype, slots: list[int]) -> Lanes:
    """Lanes of three sets: one LoRA; two weighted with gates; ten."""
    plain = expert(folder, 0, dtype, rank=5, dora=False, ia3=False)
    gated = expert(folder, 1, dtype, rank=3, dora=True, ia3=False)
    scaled = expert(folder, 2, dtype, rank=0, dora=False, ia3=True)
    ten = tuple((expert(folder, 10 + i, dtype, rank=i + 1, dora=i == 3, ia3=i == 4), 0.3 + i / 10) for i in range(10))
    lanes = lanes_of(slots, [SlotSet(((plain, 1.0),)), SlotSet(((gated, 0.7), (scaled, 1.3))), SlotSet(ten)])
    assert lanes is not None
    return lanes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize(
    "slots",
    [
        pytest.param([0], id="one row"),
        pytest.param([0, -1, 1, 2, 1, -1, 0, 2, 2, 2, 2], id="mixed rows"),
        pytest.param([-1] * 3 + [1] * 70 + [-1] + [2] * 30 + [0], id="prefills"),
        pytest.param([0, 1] * 70, id="long lanes that are not contiguous"),
        pytest.param([2] * 16 + [0, 1] * 6, id="batches that share a set"),
    ],
)
def test_the_fused_kernel_equals_the_reference(
    tmp_path: Path, dtype: torch.dtype, with_bias: bool, slots: list[int]
) -> None:
    """A4: the compiled op is held to the reference's results, gates, weights and biases included."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(len(slots), INPUTS, generator=generator).to(dtype)
    y = torch.randn(len(slots), sum(SIZES.values()), generator=generator).to(dtype)
    bias = torch.randn(y.shape[1], generator=generator).to(dtype) if with_bias else None
    lanes = step(tmp_path, dtype, slots)
    expected = y.clone()
    reference.apply(expected, x, bias, layer(), lanes)

    found = y.clone()
    assert kernel.fused()
    kernel.apply(found, x, bias, layer(), lanes)

    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    assert torch.allclose(expected.float(), found.float(), rtol=tolerance, atol=tolerance)
    untouched = torch.tensor([slot == -1 for slot in slots])
    assert torch.equal(found[untouched], y[untouched])

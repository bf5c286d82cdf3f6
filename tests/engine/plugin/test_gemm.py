"""Which of vLLM's kernels multiplies by the base's weights, without an engine."""

from __future__ import annotations

import pytest
import torch
from vllm import _custom_ops as ops
from vllm.model_executor.layers import utils

from expert_system.engine.plugin.cpu import gemm


@pytest.mark.parametrize("packed", [True, False])
def test_the_packed_kernel_serves_whole_tiles_in_bf16(monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    """A4.2: chosen by processor, and never for sizes or types that it does not have."""
    monkeypatch.setattr(utils, "check_cpu_sgl_kernel", lambda n, k, dtype: False)
    monkeypatch.setattr(gemm, "prefers_packed", lambda: packed)
    gemm.install_gemm()
    assert packed == utils.check_cpu_sgl_kernel(960, 576, torch.bfloat16)
    assert not utils.check_cpu_sgl_kernel(960, 580, torch.bfloat16)
    assert not utils.check_cpu_sgl_kernel(961, 576, torch.bfloat16)
    assert not utils.check_cpu_sgl_kernel(960, 576, torch.float32)


@pytest.mark.skipif(not torch.cpu._is_avx512_bf16_supported(), reason="the packed kernel needs AVX512-BF16")
@pytest.mark.parametrize("rows", [1, 5, 64, 130])
def test_the_packed_kernel_computes_the_same_product(rows: int) -> None:
    """The base's product by vLLM's packed kernel equals torch's within BF16's rounding, with a bias too."""
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, 96, generator=generator).bfloat16()
    weight = (torch.randn(48, 96, generator=generator) / 10).bfloat16()
    bias = torch.randn(48, generator=generator)
    packed = torch.ops._C.convert_weight_packed(weight)
    found = ops.weight_packed_linear_cpu(x, packed, 48, bias)
    expected = torch.nn.functional.linear(x.float(), weight.float(), bias)
    assert torch.allclose(expected, found.float(), rtol=2e-2, atol=2e-2)

"""Which of vLLM's own kernels multiplies by the base's weights on the CPU.

vLLM keeps its packed kernel for processors with AMX tiles and gives all others to oneDNN. On a processor with
AVX512-BF16 and no tiles the packed one is the faster of the two at the few rows of a decoding step (one row 1.4
times, sixteen 1.1 times, level at sixty-four), and a step of decoding is what users wait for.
"""

from __future__ import annotations

import torch
from vllm.model_executor.layers import utils

INPUTS, OUTPUTS = 32, 16
"""The packed kernel wants whole tiles of these sizes."""


def install_gemm() -> None:
    """Let BF16 layers of this process use the packed kernel."""
    tiles_only = utils.check_cpu_sgl_kernel

    def check_cpu_sgl_kernel(n: int, k: int, dtype: torch.dtype) -> bool:
        if dtype is torch.bfloat16 and prefers_packed():
            return n % OUTPUTS == 0 and k % INPUTS == 0
        return tiles_only(n, k, dtype)

    utils.check_cpu_sgl_kernel = check_cpu_sgl_kernel


def prefers_packed() -> bool:
    """Whether this is such a processor."""
    return torch.cpu._is_avx512_bf16_supported() and not torch.cpu._is_amx_tile_supported()

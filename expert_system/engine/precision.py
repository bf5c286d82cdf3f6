"""The number format that the engine computes in, when the settings leave it open.

vLLM's `auto` is the format of the base's files, BF16 for most. Processors of the x86 line without AVX-512 have no
arithmetic for it and emulate every product (docs/decisions/0012).
"""

from __future__ import annotations

import platform

import torch

from expert_system.processor import emulates_bf16

AUTO = "auto"


def chosen(dtype: str) -> str:
    """What vLLM is told for the setting `dtype` on this machine."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return dtype
    return on_cpu(dtype, machine=platform.machine(), capability=torch.backends.cpu.get_cpu_capability())


def on_cpu(dtype: str, *, machine: str, capability: str) -> str:
    """The same for a described processor; see `emulates_bf16`. Only `auto` leaves a choice."""
    return "float32" if dtype == AUTO and emulates_bf16(machine=machine, capability=capability) else dtype

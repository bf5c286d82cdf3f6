"""The number format that the engine computes in, when the settings leave it open.

vLLM's `auto` is the format of the base's files, BF16 for most. Processors of the x86 line without AVX-512 have no
arithmetic for it and emulate every product (docs/decisions/0012).
"""

from __future__ import annotations

import platform

import torch

AUTO = "auto"
X86 = ("x86_64", "AMD64")
NARROW = ("DEFAULT", "NO AVX", "AVX2")
"""What torch calls x86 processors without AVX-512."""


def chosen(dtype: str) -> str:
    """What vLLM is told for the setting `dtype` on this machine."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return dtype
    return on_cpu(dtype, machine=platform.machine(), capability=torch.backends.cpu.get_cpu_capability())


def on_cpu(dtype: str, *, machine: str, capability: str) -> str:
    """The same for a described processor.

    Args:
        dtype: the setting; only `auto` leaves a choice.
        machine: as `platform.machine()` names it.
        capability: as `torch.backends.cpu.get_cpu_capability()` names its widest vectors.
    """
    return "float32" if dtype == AUTO and machine in X86 and capability in NARROW else dtype

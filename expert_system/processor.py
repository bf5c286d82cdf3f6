"""What a described processor can compute.

names of the machine and of its vectors -> yes or no
"""

from __future__ import annotations

X86 = ("x86_64", "AMD64")
NARROW = ("DEFAULT", "NO AVX", "AVX2")
"""What torch calls x86 processors without AVX-512."""


def emulates_bf16(*, machine: str, capability: str) -> bool:
    """Whether products in BF16 are known to be emulated, which takes several times as long (docs/decisions/0012).

    Args:
        machine: as `platform.machine()` names it.
        capability: as `torch.backends.cpu.get_cpu_capability()` names its widest vectors.
    """
    return machine in X86 and capability in NARROW

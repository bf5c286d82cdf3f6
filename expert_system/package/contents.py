"""The checks of an adapter's numbers that cost a pass over the data; run once, when an expert is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from expert_system.errors import AdapterRefused
from expert_system.package.adapter_config import read_adapter_config
from expert_system.package.binding import Adapter, AdapterType
from expert_system.package.tensors import Tensor, read_tensors
from expert_system.package.weights import WEIGHTS_FILE

_EXPONENT = {"F32": (np.uint32, 0x7F80_0000), "F16": (np.uint16, 0x7C00), "BF16": (np.uint16, 0x7F80)}
"""Where all of these bits are set, the value is infinite or not a number; numpy has no BF16 of its own."""
_SIGN = {"F32": 0x7FFF_FFFF, "F16": 0x7FFF, "BF16": 0x7FFF}


def check_contents(package: Path, declared: Adapter) -> None:
    """Refuse an adapter with values that are not finite, or one that would change nothing.

    Raises:
        AdapterRefused: the message names the tensor.
    """
    folder = package / declared.path
    config = read_adapter_config(folder)
    decisive = ".lora_B.weight" if config.type in {AdapterType.LORA, AdapterType.DORA} else ""
    file = folder / WEIGHTS_FILE
    tensors = read_tensors(file)
    useful = False
    for tensor in tensors:
        used = _check_finite(file, tensor, declared.path)
        useful = useful or (used and tensor.name.endswith(decisive))
    if not useful:
        raise AdapterRefused(f"{declared.path}: every {decisive.strip('.') or 'value'} is zero; was it trained?")


def _check_finite(file: Path, tensor: Tensor, where: str) -> bool:
    """Whether the tensor has a value other than zero."""
    kind, exponent = _EXPONENT[tensor.dtype]
    count = (tensor.end - tensor.start) // np.dtype(kind).itemsize
    if count == 0:
        return False
    bits = np.fromfile(file, dtype=kind, count=count, offset=tensor.start)
    if bool(np.any((bits & kind(exponent)) == exponent)):
        raise AdapterRefused(f"{where}: tensor {tensor.name!r} holds a value that is not finite")
    return bool(np.any(bits & kind(_SIGN[tensor.dtype])))

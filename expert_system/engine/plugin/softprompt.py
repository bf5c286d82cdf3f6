"""The virtual tokens of a set, out of its members' host files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open

from expert_system.engine.plugin.adapter import SOFT_PROMPT


def join(host_files: Sequence[Path]) -> torch.Tensor | None:
    """Concatenate the soft prompts of these host files, in this order; None when no file has one."""
    found = []
    for path in host_files:
        with safe_open(path, framework="pt") as file:
            if SOFT_PROMPT in file.keys():  # noqa: SIM118 - safe_open is no mapping
                found.append(file.get_tensor(SOFT_PROMPT))
    return torch.cat(found) if found else None

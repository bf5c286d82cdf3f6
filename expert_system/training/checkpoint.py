"""Save and load the state of a training run.

    weights + optimizer + random state + step -> one safetensors file, written aside and renamed

Promise: a crash at any moment leaves the previous checkpoint or the new one, and a resumed
run continues exactly where the saved one stood.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a run has come."""

    step: int = 0
    trained_s: float = 0.0
    """Wall time over all sittings."""
    tokens: int = 0
    best_step: int = 0
    best_validation_loss: float = float("inf")
    losses: list[float] = field(default_factory=list)
    """Training loss of every step."""
    validation_losses: list[tuple[int, float]] = field(default_factory=list)


def save_checkpoint(
    path: Path, parameters: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write everything that the next step depends on."""
    tensors = {f"parameter/{name}": value.detach().contiguous() for name, value in parameters.items()}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            tensors[f"optimizer/{index}/{name}"] = value.detach().contiguous().clone()
    tensors["random/torch"] = torch.get_rng_state()
    aside = path.with_suffix(".partial")
    save_file(tensors, aside, metadata={"progress": json.dumps(asdict(progress))})
    aside.replace(path)


def load_checkpoint(path: Path, parameters: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer) -> Progress:
    """Put a saved state back into the parameters, the optimizer and the random generator."""
    state: dict[int, dict[str, Any]] = {}
    with safe_open(path, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118 - a safetensors file is no mapping
            kind, _, name = key.partition("/")
            value = file.get_tensor(key)
            if kind == "parameter":
                with torch.no_grad():
                    parameters[name].copy_(value)
            elif kind == "optimizer":
                index, _, field = name.partition("/")
                state.setdefault(int(index), {})[field] = value
            else:
                torch.set_rng_state(value)
        progress = Progress(**json.loads(file.metadata()["progress"]))
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return progress

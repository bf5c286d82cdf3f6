"""Save and load the state of a training run.

    weights + best weights + optimizer + random state + progress -> one safetensors file, written aside and renamed

Promise: a kill at any moment leaves the previous checkpoint or the new one, and a resumed run continues
exactly where the saved one stood. No pickle: every tensor is a tensor of the file, the rest is JSON.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from expert_system.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Tensors = dict[str, torch.Tensor]


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a run has come."""

    run: str
    """Names recipe, data and base; a checkpoint of another run is refused."""
    step: int = 0
    trained_s: float = 0.0
    """Wall time over all sittings."""
    tokens: int = 0
    best_step: int = 0
    best_validation_loss: float = float("inf")
    losses: list[float] = field(default_factory=list)
    """Training loss of every step."""
    validation_losses: list[tuple[int, float]] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class RunState:
    """Everything that the next step of a run depends on."""

    path: Path
    """Of the checkpoint."""
    parameters: Mapping[str, torch.Tensor]
    optimizer: torch.optim.Optimizer
    progress: Progress
    best: Tensors = field(default_factory=dict)
    """The adapter of the best step so far, as it will be saved."""
    random: Tensors = field(default_factory=dict)
    """Random states read from a checkpoint; put back when the first step begins."""

    def save(self) -> None:
        """Write the checkpoint."""
        tensors = {f"parameter/{name}": value for name, value in self.parameters.items()}
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": value for name, value in state.items()}
        tensors["random/cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random/cuda"] = torch.cuda.get_rng_state()
        write_aside(tensors, self.path, {"progress": json.dumps(asdict(self.progress))})

    def load(self) -> None:
        """Continue from the checkpoint, when there is one.

        Raises:
            ConfigError: the checkpoint belongs to another run.
        """
        if not self.path.exists():
            return
        kinds: dict[str, Tensors] = {"parameter": {}, "best": {}, "optimizer": {}, "random": {}}
        with safe_open(self.path, framework="pt") as file:
            saved = json.loads(file.metadata()["progress"])
            if saved.get("run") != self.progress.run:
                raise ConfigError(
                    f"{self.path} was made with another recipe, data set or base; choose another --out, or delete it"
                )
            for key in file.keys():  # noqa: SIM118 - a safetensors file is no mapping
                kind, _, name = key.partition("/")
                kinds[kind][name] = file.get_tensor(key)
        with torch.no_grad():
            for name, value in kinds["parameter"].items():
                self.parameters[name].copy_(value)
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in kinds["optimizer"].items():
            index, _, name = key.partition("/")
            state.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
        self.progress, self.best, self.random = Progress(**saved), kinds["best"], kinds["random"]

    def restore_random(self) -> None:
        """Continue the random numbers where they were saved."""
        if not self.random:
            return
        torch.set_rng_state(self.random["cpu"])
        if "cuda" in self.random and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.random["cuda"])


def write_aside(tensors: Mapping[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file under another name and rename it."""
    aside = path.with_suffix(".partial")
    # Copies: the file format refuses tensors that share memory.
    save_file({name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}, aside, metadata)
    aside.replace(path)

"""Put a finished run into an expert's folder.

    run.json + adapter -> weights/<base>/, run.json, manifest.training

Promise: the manifest says of the training what run.json says, and figures measured on other weights are dropped.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from expert_system.package.evidence import Dataset, Training
from expert_system.package.manifest import dump_manifest, read_manifest

if TYPE_CHECKING:
    from pathlib import Path

RUN = "run.json"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def install_run(out: Path, folder: Path, base_revision: str) -> None:
    """Copy a run's adapter and record, and describe it in the manifest.

    Args:
        out: the folder that training wrote to.
        folder: the expert's.
        base_revision: where the base comes from, such as a hub commit.
    """
    run: dict[str, Any] = json.loads((out / RUN).read_text(encoding="utf-8"))
    base = run["recipe"]["training"]["base"]
    weights = folder / "weights" / base
    weights.mkdir(parents=True, exist_ok=True)
    for name in ADAPTER_FILES:
        shutil.copyfile(out / "adapter" / name, weights / name)
    shutil.copyfile(out / RUN, folder / RUN)
    manifest = read_manifest(folder)
    kept = tuple(entry for entry in manifest.quality_metrics if entry.base != base)
    updated = manifest.model_copy(update={"training": _training(run, base_revision), "quality_metrics": kept})
    (folder / "manifest.json").write_bytes(dump_manifest(updated))


def _training(run: dict[str, Any], base_revision: str) -> Training:
    how = dict(run["recipe"]["training"])
    method = how.pop("method")
    data = run["dataset"]
    return Training(
        method=method,
        dataset=Dataset(
            generator=f"expert_system.training.dataset, {run['recipe']['dataset']['generator']}",
            seed=run["recipe"]["dataset"]["seed"],
            train_examples=data["train"]["count"],
            validation_examples=data["validation"]["count"],
            sha256=data["train"]["sha256"],
        ),
        hyperparameters={
            name: tuple(value) if isinstance(value, list) else value
            for name, value in how.items()
            if name not in {"base", "checkpoint_every_s"}
        },
        base_revision=base_revision,
        wall_time_s=run["wall_time_s"],
        software=run["software"],
    )

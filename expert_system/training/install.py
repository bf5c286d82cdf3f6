"""Put a finished run into an expert's folder.

    run.json + adapter -> weights/<base>/, run.json, manifest (adapter of that base, training)

Promise: the manifest says of adapter and training what the run says, and figures measured on other weights are dropped.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from expert_system.errors import ConfigError
from expert_system.package.adapter_config import read_adapter_config
from expert_system.package.binding import Adapter, BaseBinding
from expert_system.package.evidence import Dataset, Training
from expert_system.package.manifest import Manifest, dump_manifest, read_manifest
from expert_system.training.recipe import TrainingRecipe

if TYPE_CHECKING:
    from pathlib import Path

    from expert_system.package.base import BaseDescription

RUN = "run.json"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
UNKNOWN = "unknown"
"""Of a base that nobody said the origin of."""
NOT_HYPERPARAMETERS = {"method", "base", "checkpoint_every_s"}


def install_run(out: Path, folder: Path, base_revision: str | None, base: BaseDescription | None = None) -> None:
    """Copy a run's adapter and record, and describe both in the manifest.

    Args:
        out: the folder that training wrote to.
        folder: the expert's.
        base_revision: where the base comes from, such as a hub commit; without it what the manifest says, if
            this is its only base, or "unknown".
        base: what was trained for; needed when the manifest does not bind to it yet.

    Raises:
        ConfigError: the manifest has no binding for the run's base, and `base` does not say what it is.
    """
    run: dict[str, Any] = json.loads((out / RUN).read_text(encoding="utf-8"))
    name = run["recipe"]["training"]["base"]
    manifest = read_manifest(folder)
    weights = folder / "weights" / name
    revision = base_revision or known_revision(manifest, run["base_digest"])
    bindings = _bindings(manifest, name, run["base_digest"], describe_adapter(out / "adapter", f"weights/{name}"), base)
    weights.mkdir(parents=True, exist_ok=True)
    for file in ADAPTER_FILES:
        shutil.copyfile(out / "adapter" / file, weights / file)
    shutil.copyfile(out / RUN, folder / RUN)
    kept = tuple(entry for entry in manifest.quality_metrics if entry.base != name)
    updated = manifest.model_copy(
        update={"base_models": bindings, "training": _training(run, revision), "quality_metrics": kept}
    )
    (folder / "manifest.json").write_bytes(dump_manifest(updated))


def describe_adapter(folder: Path, path: str) -> Adapter:
    """The manifest's entry of the adapter in a PEFT folder."""
    config = read_adapter_config(folder)
    return Adapter(
        type=config.type,
        path=path,
        r=config.r or None,
        alpha=config.alpha or None,
        # As they are written there; the reader keeps a set.
        target_modules=tuple(json.loads((folder / ADAPTER_FILES[0]).read_text()).get("target_modules") or ()),
        use_rslora=config.use_rslora,
        num_virtual_tokens=config.num_virtual_tokens or None,
    )


def _bindings(
    manifest: Manifest, name: str, base_digest: str, adapter: Adapter, base: BaseDescription | None
) -> tuple[BaseBinding, ...]:
    """The manifest's bases, the run's with its new adapter."""
    bound = {binding.name: binding for binding in manifest.base_models}
    same = bound.get(name)
    if same is not None and same.base_digest == base_digest:
        kept = tuple(entry for entry in same.adapters if entry.path != adapter.path)
        bound[name] = same.model_copy(update={"adapters": (*kept, adapter)})
        return tuple(bound.values())
    if base is None or base.binding != base_digest:
        raise ConfigError(f"manifest.json has no base {name!r} with the digest {base_digest} that the run was made on")
    bound[name] = BaseBinding(
        name=name,
        base_digest=base.binding,
        tokenizer_sha256=base.tokenizer_sha256,
        chat_template_sha256=base.chat_template_sha256,
        validated_on=(base.quantization,),
        adapters=(adapter,),
    )
    return tuple(bound.values())


def known_revision(manifest: Manifest, base_digest: str) -> str:
    """Where the last training's base came from, if that can only be this base; the manifest does not say which it was."""
    if manifest.training is None or [base_digest] != [binding.base_digest for binding in manifest.base_models]:
        return UNKNOWN
    return manifest.training.base_revision


def _training(run: dict[str, Any], base_revision: str) -> Training:
    how, section, data = run["recipe"]["training"], run["recipe"]["dataset"], run["dataset"]
    # Without what stands at its default, such as the options of other kinds of adapter.
    told = TrainingRecipe.model_validate(how).model_dump(mode="json", exclude_defaults=True)
    written_by = section.get("program") or section["generator"]
    return Training(
        method=how["method"],
        dataset=Dataset(
            generator=f"expert_system.training.dataset, {written_by}",
            seed=section["seed"],
            train_examples=data["train"]["count"],
            validation_examples=data["validation"]["count"],
            sha256=data["train"]["sha256"],
        ),
        hyperparameters={
            name: tuple(value) if isinstance(value, list) else value
            for name, value in told.items()
            if name not in NOT_HYPERPARAMETERS
        },
        base_revision=base_revision,
        wall_time_s=run["wall_time_s"],
        software=run["software"],
    )

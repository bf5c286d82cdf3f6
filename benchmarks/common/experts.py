"""Random experts for a base: made with PEFT, packaged, and installed in a store of the benchmark's own.

    base -> PEFT (LoRA on all linear layers, random weights) -> package -> store

Their speed is that of trained ones: no kernel looks at values.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expert_system.marketplace.store import Store
from expert_system.package.base import BaseDescription, describe_base

RANK = 16
MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
STRENGTH = 0.01
"""Standard deviation of B: enough that answers differ, so little that they stay ordinary text."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """Experts that lie ready for a base."""

    base: Path
    work: Path

    @property
    def home(self) -> Path:
        """`$EXPERT_HOME` of the engines that are measured."""
        return self.work / "home"

    def folder(self, name: str) -> Path:
        """The PEFT folder of an expert, for engines that know no experts."""
        return self.work / "adapters" / name

    def names(self, count: int, rank: int = RANK) -> list[str]:
        """The names of `count` experts of this rank; those that are missing are made and installed."""
        names = [f"bench-r{rank}-{number:03d}" for number in range(count)]
        missing = [name for name in names if not (self.work / "packages" / name / "manifest.json").exists()]
        if missing:
            self._make(missing, rank)
        return names

    def _make(self, names: list[str], rank: int) -> None:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(MODULES), task_type="CAUSAL_LM")
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(self.base, dtype=torch.float32), config)
        description = describe_base(self.base)
        store = Store(self.home, dev=True)
        try:
            for name in names:
                generator = torch.Generator().manual_seed(int.from_bytes(name.encode(), "big") % 2**31)
                for key, parameter in model.named_parameters():
                    if "lora_B" in key:
                        parameter.data.normal_(0, STRENGTH, generator=generator)
                    elif "lora_A" in key:
                        parameter.data.normal_(0, parameter.shape[1] ** -0.5, generator=generator)
                model.save_pretrained(self.folder(name), save_embedding_layers=False)
                store.install_dev(self._package(name, rank, description))
        finally:
            store.close()

    def _package(self, name: str, rank: int, base: BaseDescription) -> Path:
        package = self.work / "packages" / name
        place = f"weights/{base.name}"
        (package / place).mkdir(parents=True, exist_ok=True)
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            (package / place / file).unlink(missing_ok=True)
            os.link(self.folder(name) / file, package / place / file)
        (package / "README.md").write_text(f"# {name}\n")
        (package / "LICENSE").write_text("MIT\n")
        (package / "manifest.json").write_text(json.dumps(_manifest(name, rank, place, base), indent=2) + "\n")
        return package


def _manifest(name: str, rank: int, place: str, base: BaseDescription) -> dict[str, Any]:
    adapter = {
        "type": "lora",
        "path": place,
        "r": rank,
        "alpha": 2 * rank,
        "use_rslora": False,
        "target_modules": sorted(MODULES),
    }
    return {
        "schema_version": "2.0",
        "name": f"expert-{name}",
        "version": "1.0.0",
        "description": "Random weights; measures speed.",
        "publisher": "benchmarks",
        "license": "MIT",
        "created_at": "2026-01-01T00:00:00Z",
        "base_models": [
            {
                "name": base.name,
                "base_digest": base.binding,
                "tokenizer_sha256": base.tokenizer_sha256,
                "chat_template_sha256": base.chat_template_sha256,
                "validated_on": ["none"],
                "adapters": [adapter],
            }
        ],
        "routing": {"description": "Random weights; measures speed."},
        "composition": {"category": "task", "load_order": 9},
    }

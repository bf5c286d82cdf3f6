"""Small but complete bases and experts for tests: real safetensors, real manifests, a few kilobytes each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from expert_system.package.adapter_config import CONFIG_FILE
from expert_system.package.base import BaseDescription, describe_base
from expert_system.package.binding import AdapterType
from expert_system.package.statement import hash_file
from expert_system.package.weights import PEFT_PREFIX, SOFT_PROMPT_TENSOR, WEIGHTS_FILE, linear_shapes

BASE_NAME = "tiny"
CREATED_AT = "2026-01-01T00:00:00Z"
_TARGETS = ("q_proj", "v_proj")
_CASE = {"messages": [{"role": "user", "content": "hello"}], "answer": "hello"}


def make_base(folder: Path, *, seed: int = 0, hidden: int = 16, layers: int = 2) -> BaseDescription:
    """Write a random base of the Llama shape; equal arguments give equal digests."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 64,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "seed": seed}))
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    embedding = random.standard_normal((64, hidden), dtype=np.float32)
    save_file({"model.embed_tokens.weight": embedding}, folder / "model.safetensors")
    return describe_base(folder)


def make_expert(
    folder: Path,
    base: BaseDescription,
    *,
    name: str = "expert-sql",
    version: str = "1.0.0",
    publisher: str = "example",
    kind: AdapterType = AdapterType.LORA,
    rank: int = 4,
    seed: int = 0,
    proven: bool = True,
    **changes: Any,
) -> Path:
    """Write an expert's folder, unsigned.

    Args:
        folder: made when missing; files of an earlier version are overwritten.
        base: what it binds to.
        name: the full name.
        version: X.Y.Z.
        publisher: who signs it.
        kind: the type of its one adapter.
        rank: of a LoRA or DoRA; the number of virtual tokens of a soft prompt.
        seed: for its weights.
        proven: whether quality_metrics shows a gain.
        changes: more keys of the manifest, merged one level deep.
    """
    place = f"weights/{base.name}"
    adapter = _write_adapter(folder / place, base, kind, rank, seed)
    (folder / "README.md").write_text(f"# {name}\n")
    (folder / "LICENSE").write_text("MIT\n")
    (folder / "tests").mkdir(exist_ok=True)
    (folder / "tests" / "cases.jsonl").write_text(json.dumps(_CASE) + "\n")
    manifest: dict[str, Any] = {
        "schema_version": "2.0",
        "name": name,
        "version": version,
        "description": f"A test expert named {name}.",
        "publisher": publisher,
        "license": "MIT",
        "created_at": CREATED_AT,
        "base_models": [
            {
                "name": base.name,
                "base_digest": base.binding,
                "tokenizer_sha256": base.tokenizer_sha256,
                "chat_template_sha256": base.chat_template_sha256,
                "validated_on": ["none"],
                "adapters": [{"type": kind.value, "path": place, **adapter}],
            }
        ],
        "capabilities": ["task:testing"],
        "routing": {"description": f"Does what {name} does.", "examples": ["an example"], "keywords": ["test"]},
        "composition": {"category": "task", "load_order": 9},
        "quality_metrics": [_evaluation(folder, place, base.name)] if proven else [],
    }
    (folder / "evaluation.json").unlink(missing_ok=True)
    for evaluation in manifest["quality_metrics"]:
        (folder / "evaluation.json").write_text(json.dumps(evaluation, indent=2) + "\n")
    for key, value in changes.items():
        kept = manifest.get(key)
        manifest[key] = {**kept, **value} if isinstance(kept, dict) and isinstance(value, dict) else value
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return folder


def _write_adapter(folder: Path, base: BaseDescription, kind: AdapterType, rank: int, seed: int) -> dict[str, Any]:
    """Write a PEFT folder; returns the adapter's fields for the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    shapes = linear_shapes(base.architecture)
    tensors: dict[str, np.ndarray[Any, np.dtype[np.float32]]] = {}
    if kind is AdapterType.SOFT_PROMPT:
        size = base.architecture.hidden_size
        tensors[SOFT_PROMPT_TENSOR] = random.standard_normal((rank, size), dtype=np.float32)
        config: dict[str, Any] = {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": rank, "token_dim": size}
        fields: dict[str, Any] = {"num_virtual_tokens": rank}
    else:
        for layer in range(base.architecture.layers):
            for target in _TARGETS:
                outputs, inputs = shapes[f"self_attn.{target}"]
                module = f"{PEFT_PREFIX}model.layers.{layer}.self_attn.{target}"
                if kind is AdapterType.IA3:
                    tensors[f"{module}.ia3_l"] = random.standard_normal((outputs, 1), dtype=np.float32)
                    continue
                tensors[f"{module}.lora_A.weight"] = random.standard_normal((rank, inputs), dtype=np.float32)
                tensors[f"{module}.lora_B.weight"] = random.standard_normal((outputs, rank), dtype=np.float32)
                if kind is AdapterType.DORA:
                    tensors[f"{module}.lora_magnitude_vector"] = np.ones(outputs, dtype=np.float32)
        config = {"peft_type": "IA3", "target_modules": list(_TARGETS), "feedforward_modules": []}
        fields = {"target_modules": list(_TARGETS)}
        if kind is not AdapterType.IA3:
            config = {
                "peft_type": "LORA",
                "r": rank,
                "lora_alpha": 2 * rank,
                "target_modules": list(_TARGETS),
                "use_dora": kind is AdapterType.DORA,
            }
            fields = {"r": rank, "alpha": 2 * rank, "target_modules": list(_TARGETS)}
    (folder / CONFIG_FILE).write_text(json.dumps({"task_type": "CAUSAL_LM", **config}))
    save_file(tensors, folder / WEIGHTS_FILE)
    return fields


def _evaluation(folder: Path, place: str, base: str) -> dict[str, Any]:
    path = f"{place}/{WEIGHTS_FILE}"
    return {
        "base": base,
        "quantization": "none",
        "evaluated_at": CREATED_AT,
        "held_out_sha256": "0" * 64,
        "held_out_examples": 200,
        "adapters": {path: hash_file(folder / path)},
        "primary": "exact",
        "measures": [
            {
                "name": "exact",
                "base": {"value": 0.1, "low": 0.05, "high": 0.15},
                "expert": {"value": 0.8, "low": 0.75, "high": 0.85},
                "gain": {"value": 0.7, "low": 0.65, "high": 0.75},
            }
        ],
    }

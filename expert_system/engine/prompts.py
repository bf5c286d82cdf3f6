"""What vLLM reads as the prompt: token ids, with a soft prompt's virtual tokens before them when there are any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

FILLER_TOKEN = 0
"""Stands where a virtual token is; vLLM replaces it with the embedding."""


def engine_prompt(token_ids: Sequence[int], virtual: torch.Tensor | None) -> dict[str, Any]:
    """Build the prompt.

    Args:
        token_ids: the rendered prompt.
        virtual: embeddings that come before it, as PEFT puts them; shape (tokens, hidden), in the model's dtype.

    Returns:
        vLLM's mixed prompt when there are virtual tokens: real ids keep their meaning for penalties and need no
        embedding here, so their rows are zeros.
    """
    if virtual is None:
        return {"prompt_token_ids": list(token_ids)}
    import torch

    count = len(virtual)
    return {
        "prompt_embeds": torch.cat([virtual, virtual.new_zeros(len(token_ids), virtual.shape[1])]),
        "prompt_token_ids": [FILLER_TOKEN] * count + list(token_ids),
        "prompt_is_token_ids": [False] * count + [True] * len(token_ids),
    }

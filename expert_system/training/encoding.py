"""Turn examples into token ids and batches of one length class.

    examples -> Encoded(prompt + completion) -> batches in a seeded order -> tensors

Promise: the loss sees completion tokens only, and batch number N is the same batch on every run.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from expert_system.training.examples import Example

IGNORED = -100
"""Label of a position that the loss does not see."""
POOL_BATCHES = 32
"""Batches whose examples are sorted by length together; more saves padding, fewer keeps the order more random."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Token ids of one example."""

    ids: tuple[int, ...]
    prompt_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Tensors of shape (examples, length), padded on the right."""

    ids: torch.Tensor
    labels: torch.Tensor
    """labels[i, t] is the token that position t has to predict, or IGNORED."""
    tokens: int
    """Without padding."""


def encode(example: Example, tokenizer: Any) -> Encoded:
    """Render an example under the base's chat template; the completion ends with the end-of-turn token."""
    messages = [{"role": "user", "content": example.prompt}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    answer_ids = tokenizer(example.answer, add_special_tokens=False)["input_ids"]
    return Encoded(ids=(*prompt_ids, *answer_ids, tokenizer.eos_token_id), prompt_length=len(prompt_ids))


def collate(rows: Sequence[Encoded], pad_id: int) -> Batch:
    """Pad rows to the longest one."""
    length = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), length), pad_id)
    labels = torch.full((len(rows), length), IGNORED)
    for index, row in enumerate(rows):
        end = len(row.ids)
        ids[index, :end] = torch.tensor(row.ids)
        labels[index, row.prompt_length - 1 : end - 1] = torch.tensor(row.ids[row.prompt_length :])
    return Batch(ids=ids, labels=labels, tokens=sum(len(row.ids) for row in rows))


def schedule(rows: Sequence[Encoded], batch_size: int, epochs: int, seed: int) -> list[list[Encoded]]:
    """Order all batches of a run; each batch holds examples of similar length."""
    batches: list[list[Encoded]] = []
    for epoch in range(epochs):
        rng = Random(f"{seed}/{epoch}")
        order = list(rows)
        rng.shuffle(order)
        epoch_batches: list[list[Encoded]] = []
        pool = batch_size * POOL_BATCHES
        for start in range(0, len(order), pool):
            by_length = sorted(order[start : start + pool], key=lambda row: len(row.ids))
            epoch_batches += [by_length[at : at + batch_size] for at in range(0, len(by_length), batch_size)]
        rng.shuffle(epoch_batches)
        batches += epoch_batches
    return batches

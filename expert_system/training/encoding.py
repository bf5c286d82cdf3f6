"""Turn rows into token ids and batches of one length class.

    rows -> Encoded (prompt + completion) or Pair -> batches in a seeded order -> tensors

Promise: the loss sees completion tokens only, and batch number N is the same batch on every run.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch

from expert_system.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from expert_system.training.data.row import Row

IGNORED = -100
"""Label of a position that the loss does not see."""
POOL_BATCHES = 32
"""Batches whose examples are sorted by length together; more saves padding, fewer keeps the order more random."""

Inputs = dict[str, torch.Tensor]
"""What a trainer computes a loss from."""


class Sized(Protocol):
    """Something that takes part in a batch."""

    @property
    def length(self) -> int:
        """In tokens."""


AnySized = TypeVar("AnySized", bound=Sized)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Token ids of one example."""

    ids: tuple[int, ...]
    prompt_length: int

    @property
    def length(self) -> int:
        """In tokens."""
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Token ids of a prompt with a better and a worse answer."""

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]

    @property
    def length(self) -> int:
        """In tokens; the prompt is computed with each answer."""
        return 2 * len(self.prompt) + len(self.chosen) + len(self.rejected)


def encode(row: Row, tokenizer: Any) -> Encoded:
    """Render an example under the base's chat template; the completion ends with the end-of-turn token."""
    prompt = _prompt_ids(row, tokenizer)
    return Encoded(ids=(*prompt, *_answer_ids(row.answer, tokenizer)), prompt_length=len(prompt))


def encode_pair(row: Row, tokenizer: Any) -> Pair:
    """Render a preference pair likewise.

    Raises:
        ConfigError: the row has no rejected answer.
    """
    if row.rejected is None:
        raise ConfigError(f"method dpo needs a rejected answer in every row; {row.prompt[:60]!r} has none")
    return Pair(
        prompt=_prompt_ids(row, tokenizer),
        chosen=_answer_ids(row.answer, tokenizer),
        rejected=_answer_ids(row.rejected, tokenizer),
    )


def _prompt_ids(row: Row, tokenizer: Any) -> tuple[int, ...]:
    text = tokenizer.apply_chat_template(list(row.messages), add_generation_prompt=True, tokenize=False)
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def _answer_ids(answer: str, tokenizer: Any) -> tuple[int, ...]:
    return (*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id)


def collate(rows: Sequence[Encoded], pad_id: int) -> Inputs:
    """Pad rows on the right to the longest one.

    Returns:
        `input_ids` and `shift_labels`, each (rows, length); shift_labels[i, t] is the token that position t has to
        predict, or IGNORED.
    """
    length = max(row.length for row in rows)
    ids = torch.full((len(rows), length), pad_id)
    labels = torch.full((len(rows), length), IGNORED)
    for index, row in enumerate(rows):
        ids[index, : row.length] = torch.tensor(row.ids)
        labels[index, : row.length] = _labels(row)
    return {"input_ids": ids, "shift_labels": labels}


def pack(rows: Sequence[Encoded]) -> Inputs:
    """Lay rows one behind another, without padding.

    Returns:
        As `collate`, each (1, tokens), and `position_ids`, which start again at 0 with every row: attention reads the
        borders from them and keeps the rows apart.
    """
    return {
        "input_ids": torch.cat([torch.tensor(row.ids) for row in rows]).unsqueeze(0),
        "shift_labels": torch.cat([_labels(row) for row in rows]).unsqueeze(0),
        "position_ids": torch.cat([torch.arange(row.length) for row in rows]).unsqueeze(0),
    }


def _labels(row: Encoded) -> torch.Tensor:
    labels = torch.full((row.length,), IGNORED)
    labels[row.prompt_length - 1 : -1] = torch.tensor(row.ids[row.prompt_length :])
    return labels


def schedule(rows: Sequence[AnySized], batch_size: int, epochs: int, seed: int) -> list[list[AnySized]]:
    """Order all batches of a run; each batch holds examples of similar length."""
    batches: list[list[AnySized]] = []
    for epoch in range(epochs):
        rng = Random(f"{seed}/{epoch}")
        order = list(rows)
        rng.shuffle(order)
        epoch_batches: list[list[AnySized]] = []
        pool = batch_size * POOL_BATCHES
        for start in range(0, len(order), pool):
            by_length = sorted(order[start : start + pool], key=lambda row: row.length)
            epoch_batches += [by_length[at : at + batch_size] for at in range(0, len(by_length), batch_size)]
        rng.shuffle(epoch_batches)
        batches += epoch_batches
    return batches

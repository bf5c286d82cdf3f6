"""Texts as the encoder will read them, padded for training.

    prompt -> what is asked -> excerpt -> token ids, at most max_tokens -> (ids, mask)

Promise: training reads a prompt exactly as the router does; the functions that say how are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from tokenizers import Tokenizer

GROUP = 16
"""Texts of one group; small enough that long ones pad few others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """How texts become token ids."""

    tokenizer: Tokenizer
    asked: Callable[[str], str]
    """What of a prompt is asked, as `routing.prompt` tells it."""
    excerpt: Callable[[str], str]
    """`routing.windows.excerpt`."""
    within: Callable[[Sequence[int], int], list[int]]
    """`routing.windows.within`."""
    max_tokens: int

    def ids(self, text: str) -> list[int]:
        """Token ids of a descriptor, or of what a prompt asks."""
        first, *inner, last = self.tokenizer.encode(self.excerpt(text)).ids
        return [first, *self.within(inner, self.max_tokens - 2), last]

    def prompt_ids(self, prompt: str) -> list[int]:
        """Token ids of a prompt."""
        return self.ids(self.asked(prompt))


def in_groups(
    forward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], rows: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Run rows through a module in groups of similar length, so that little is padded; (b, ...) in the given order."""
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
    groups = [order[start : start + GROUP] for start in range(0, len(order), GROUP)]
    found = torch.cat([forward(*padded([rows[place] for place in group])) for group in groups])
    return found[torch.tensor(order).argsort()]


def padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """(b, t) ids and mask of tokens."""
    length = max(map(len, rows))
    ids = torch.tensor([[*row, *([0] * (length - len(row)))] for row in rows])
    mask = torch.tensor([[True] * len(row) + [False] * (length - len(row)) for row in rows])
    return ids, mask

"""One row of a data set: what is asked, the right answer, how to check it, and where it comes from.

    program or provider -> Row -> part -> training, evaluation

Promise: a row holds chat messages and plain JSON only, so it trains any base and needs no code of its generator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Messages = tuple[dict[str, str], ...]
"""Chat turns, each {"role": ..., "content": ...}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One example: a conversation that ends with the user, and its answer."""

    messages: Messages
    answer: str
    template: str
    """What it was written from: a family, a topic, a database schema. No template stands in two parts."""
    tags: tuple[str, ...] = ()
    """Categories that a report counts by, such as `family:film` or `difficulty:hard`."""
    schema: Mapping[str, Any] | None = None
    """JSON Schema that the answer is valid against."""
    check: Mapping[str, Any] | None = None
    """How the answer is executed: {"kind": ...} and what that checker needs."""
    content: str = ""
    """What is asked about, without the wording around it; near duplicates are looked for in it. Empty: the prompt."""
    rejected: str | None = None
    """A worse answer, which makes the row a preference pair."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Who wrote it: a program with its seed, or a provider with model, prompt digest, time and cost."""

    @property
    def prompt(self) -> str:
        """What the user asks last."""
        return self.messages[-1]["content"]

    def tag(self, name: str) -> str | None:
        """The value of the tag `name:value`, or None."""
        return next((tag.partition(":")[2] for tag in self.tags if tag.startswith(f"{name}:")), None)

"""Held-out cases: what is asked, under which schema, and the only right answer.

    Example -> Case -> cases.jsonl, and back

Promise: a case holds chat messages only, so it runs on any server of any base.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from expert_system.training.examples import Example

Messages = tuple[dict[str, str], ...]
"""Chat turns, each {"role": ..., "content": ...}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question with a checkable answer."""

    messages: Messages
    schema: dict[str, Any]
    answer: str
    tags: tuple[str, ...]
    """Categories that a report counts by, such as `family:film`."""


def case_from(example: Example) -> Case:
    """Make a case of an example."""
    wording = "contract" if example.instruction == 0 else "paraphrase"
    return Case(
        messages=({"role": "user", "content": example.prompt},),
        schema=example.schema,
        answer=example.answer,
        tags=(f"family:{example.family}", f"wording:{wording}", f"shape:{_shape(example.schema)}"),
    )


def few_shot(case: Case, shots: Sequence[Case]) -> Messages:
    """The case's question after worked examples, as earlier turns of the chat."""
    turns: list[dict[str, str]] = []
    for shot in shots:
        turns += [*shot.messages, {"role": "assistant", "content": shot.answer}]
    return (*turns, *case.messages)


def write_cases(cases: Sequence[Case], path: Path) -> None:
    """Write one case a line."""
    lines = (json.dumps(asdict(case), ensure_ascii=False) for case in cases)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _shape(schema: dict[str, Any]) -> str:
    """Whether a schema is flat, holds lists, or nests objects."""
    written = json.dumps(schema["properties"])
    if '"object"' in written:
        return "nested"
    return "list" if '"array"' in written else "flat"

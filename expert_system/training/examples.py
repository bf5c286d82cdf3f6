"""Write one example: a text, a schema over some of what it says, the request and the answer.

    family -> text -> schema -> Example

Promise: everything a schema requires stands in the text, once, and to the letter.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from expert_system.training.families import SLOT, Family, Field, Kind
from expert_system.training.schemas import ask
from expert_system.training.values import Stated, fill, render, state

if TYPE_CHECKING:
    from random import Random

    from expert_system.training.grammar import Grammar
    from expert_system.training.split import Split

LINES_SHARE = 0.3
"""Share of texts that are labelled lines instead of sentences."""
GENERIC_SHARE = 0.25
"""Share of sentences that use a wording of the whole split instead of the field's own."""
NOISE_SHARE = 0.25
COMPACT_SHARE = 0.6
"""Share of schemas written without spaces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One request with its only right answer."""

    family: str
    instruction: int
    """Index of the wording of the request; 0 is the contract."""
    prompt: str
    schema: dict[str, Any]
    answer: str


def write_example(split: Split, grammar: Grammar, contract_share: float, rng: Random) -> Example:
    """Write examples until one is short enough.

    Args:
        split: wordings and families to write from.
        grammar: the values.
        contract_share: how often the request is worded as the contract; 0 to 1.
        rng: decides everything.
    """
    while True:
        family = split.family(rng)
        text, stated = _text(split, family, grammar, rng)
        asked = ask(family, stated, rng.choice(split.asks.counts), rng)
        if not asked.answer:
            continue
        separators = (",", ":") if rng.random() < COMPACT_SHARE else (", ", ": ")
        others = len(split.instructions) - 1
        instruction = 0 if others == 0 or rng.random() < contract_share else rng.randint(1, others)
        written = {"schema": json.dumps(asked.schema, separators=separators, ensure_ascii=False), "text": text}
        prompt = fill(split.instructions[instruction], written)
        answer = render(asked.answer)
        if len(prompt) <= split.asks.prompt_chars and len(answer) <= split.asks.answer_chars:
            return Example(
                family=family.name, instruction=instruction, prompt=prompt, schema=asked.schema, answer=answer
            )


def _text(split: Split, family: Family, grammar: Grammar, rng: Random) -> tuple[str, tuple[Stated, ...]]:
    """A text and what it states."""
    as_lines = rng.random() < LINES_SHARE
    lead = rng.choice(family.leads) if family.leads and not (as_lines and rng.random() < 0.7) else ""
    opening = set(SLOT.findall(lead))
    rest = [field for field in family.fields if field.name not in opening]
    extra = rng.sample(rest, min(len(rest), rng.randint(0, 3) if lead else rng.randint(3, 6)))
    first = [state(field, grammar, rng) for field in family.fields if field.name in opening]
    more = [state(field, grammar, rng) for field in extra]
    parts = [fill(lead, {entry.field.name: entry.text for entry in first})] if lead else []
    if as_lines and more:
        style = rng.choice(split.lines)
        capital = rng.random() < 0.5
        labels = [_label(entry.field, rng) for entry in more]
        lines = [
            fill(style.line, {"label": label.capitalize() if capital else label, "value": entry.text})
            for label, entry in zip(labels, more, strict=True)
        ]
        parts.append(style.join.join(lines))
        text = "\n".join(parts)
    else:
        text = _joined(parts + [_sentence(split, entry, rng) for entry in more])
    if rng.random() < NOISE_SHARE:
        noise = rng.choice(split.noise)
        text = f"{noise} {text}" if noise.endswith(",") else _joined([text, noise])
    return text, tuple(first + more)


def _sentence(split: Split, entry: Stated, rng: Random) -> str:
    field = entry.field
    if field.kind is Kind.FLAG:
        return rng.choice(field.yes if entry.truth else field.no)
    if not field.say or rng.random() < GENERIC_SHARE:
        wording = rng.choice(split.say).replace("{label}", _label(field, rng))
        text = wording.replace("{}", entry.text)
        return text[0].upper() + text[1:] if wording[0] != "{" else text
    return rng.choice(field.say).replace("{}", entry.text)


def _label(field: Field, rng: Random) -> str:
    return rng.choice(field.keys).replace("_", " ")


def _joined(parts: list[str]) -> str:
    """Put sentences side by side; `key=value` parts need no full stop between them."""
    text = ""
    for part in parts:
        if text and text[-1] not in ".!?,:\n" and "=" not in part:
            text += "."
        text += f" {part}" if text else part
    return text

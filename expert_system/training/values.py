"""What a text states about a field, and how it reads in the text and in the JSON answer.

    Field + grammar -> Stated(text) -> answer under a schema's type

Promise: an answer only ever holds what the text says: numbers as they are written there
(thousands commas dropped), texts to the letter.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from expert_system.training.families import SLOT, Field, Kind

if TYPE_CHECKING:
    from random import Random

    from expert_system.training.grammar import Grammar

COMMA_SHARE = 0.3
"""Share of numbers from one thousand up that are written with thousands commas."""


class Number(str):
    """A number that keeps its digits as written: "149.50" stays 149.50 in JSON."""

    __slots__ = ()


Json: TypeAlias = "str | bool | list[Json] | dict[str, Json] | None"
"""A JSON value; numbers are `Number`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """A field with the value that a text states for it."""

    field: Field
    text: str
    """As it stands in the text."""
    elements: tuple[str, ...] = ()
    """The elements of a list."""
    rows: tuple[tuple[Stated, ...], ...] = ()
    """The parts of each small object."""
    truth: bool = False


def state(field: Field, grammar: Grammar, rng: Random) -> Stated:
    """Choose a value for a field."""
    match field.kind:
        case Kind.FLAG:
            truth = rng.random() < 0.5
            return Stated(field=field, text="yes" if truth else "no", truth=truth)
        case Kind.ENUM:
            word = rng.choice(field.values)
            return Stated(field=field, text=rng.choice((word, word, word, word.capitalize(), word.upper())))
        case Kind.LIST:
            wanted = rng.randint(1, 4)
            drawn = [_word(field, field.element, grammar, rng) for _ in range(wanted)]
            elements = tuple(dict.fromkeys(drawn))
            return Stated(field=field, text=_joined(elements, rng), elements=elements)
        case Kind.ITEMS:
            wording = rng.choice(field.each)
            rows = tuple(
                tuple(state(part, grammar, rng) for part in field.parts) for _ in range(rng.choice((1, 2, 2, 3)))
            )
            words = [fill(wording, {stated.field.name: stated.text for stated in row}) for row in rows]
            return Stated(field=field, text=_joined(tuple(words), rng), rows=rows)
        case _:
            return Stated(field=field, text=_word(field, field.kind, grammar, rng))


def _word(field: Field, kind: Kind, grammar: Grammar, rng: Random) -> str:
    text = grammar.expand(rng.choice(field.values), rng)
    whole, point, rest = text.partition(".")
    long_number = kind in {Kind.INTEGER, Kind.NUMBER} and len(whole) > 3 and whole.isdigit()
    # A year is never written with a comma.
    if long_number and rng.random() < COMMA_SHARE and "year" not in field.keys[0]:
        return f"{int(whole):,}{point}{rest}"
    return text


def _joined(words: tuple[str, ...], rng: Random) -> str:
    # A word with a comma of its own would look like two.
    if any("," in word for word in words):
        return "; ".join(words)
    if len(words) == 1 or rng.random() < 0.4:
        return ", ".join(words)
    return ", ".join(words[:-1]) + " and " + words[-1]


def fill(wording: str, texts: dict[str, str]) -> str:
    """Put texts into the slots of a wording."""
    return SLOT.sub(lambda match: texts[match.group(1)], wording)


def number(text: str) -> Number:
    """A number as JSON writes it."""
    return Number(text.replace(",", ""))


def render(value: Json) -> str:
    """Write an answer: `json.dumps` with its default separators, numbers with the digits they were stated with."""
    match value:
        case Number():
            return str(value)
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)}: {render(entry)}" for key, entry in value.items()) + "}"
        case list():
            return "[" + ", ".join(render(entry) for entry in value) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)

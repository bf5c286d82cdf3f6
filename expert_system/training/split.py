"""Read what one part of the data set of expert-json-parser is written from.

    JSON file -> Split (instructions, line styles, families, and what further families are made of)

Promise: a field that cannot be stated or a wording that names an unknown field is refused when the file is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from expert_system.training.composed import Composed, Head, Pair
from expert_system.training.families import SLOT, Family, Field, Group, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class LineStyle:
    """How a text of labelled lines looks."""

    line: str
    join: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """How much one example asks for."""

    counts: Sequence[int] = (2, 3, 3, 4, 4, 5, 6)
    """Fields of a schema, at most; each number as likely as it is often here."""
    prompt_chars: int = 560
    answer_chars: int = 260


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Everything that one part of the data set is written from."""

    instructions: tuple[str, ...]
    """The first one is the contract."""
    lines: tuple[LineStyle, ...]
    say: tuple[str, ...]
    noise: tuple[str, ...]
    families: tuple[Family, ...]
    composed: Composed | None
    """What further families are made of, if any."""
    pools: Mapping[str, Sequence[str]]
    """Values that this part draws from instead of the shared pools."""
    asks: Asks

    def family(self, rng: Random) -> Family:
        """Choose a family, or make one."""
        if self.composed is not None and rng.random() < self.composed.share:
            return self.composed.family(rng)
        return rng.choice(self.families)


def read_split(path: Path) -> Split:
    """Read one split's families.

    Raises:
        ValueError: when a wording names a field that its family does not have.
    """
    data = json.loads(path.read_text(encoding="utf-8"))
    return Split(
        instructions=tuple(data["instructions"]),
        lines=tuple(LineStyle(**style) for style in data["lines"]),
        say=tuple(data["say"]),
        noise=tuple(data["noise"]),
        families=tuple(_family(family) for family in data["families"]),
        composed=_composed(data["composed"]) if "composed" in data else None,
        pools=data.get("pools", {}),
        asks=Asks(**data.get("asks", {})),
    )


def _composed(data: dict[str, Any]) -> Composed:
    heads = tuple(
        Head(field=_field(entry["keys"][0], entry), clauses=tuple(entry["clause"])) for entry in data["heads"]
    )
    pairs = tuple(_pair(entry) for entry in data["pairs"])
    return Composed(share=data["share"], things=tuple(data["things"]), heads=heads, pairs=pairs)


def _pair(data: dict[str, Any]) -> Pair:
    """Read a pair; its slots get the names of its fields, which are their first keys."""
    names = {slot: field["keys"][0] for slot, field in data["fields"].items()}
    return Pair(
        fields=tuple(_field(names[slot], field) for slot, field in data["fields"].items()),
        say=tuple(
            SLOT.sub(lambda match: f"{{{names.get(match.group(1), match.group(1))}}}", wording)
            for wording in data["say"]
        ),
    )


def _family(data: dict[str, Any]) -> Family:
    fields = tuple(_field(name, field) for name, field in data["fields"].items())
    known = {field.name for field in fields}
    groups = tuple(
        Group(
            keys=tuple(group["keys"]),
            inner_keys=tuple((name, tuple(keys)) for name, keys in group["fields"].items()),
        )
        for group in data["groups"]
    )
    named = {slot for lead in data["leads"] for slot in SLOT.findall(lead)}
    named |= {name for group in groups for name, _ in group.inner_keys}
    if named - known:
        raise ValueError(f"family {data['name']!r} names unknown fields: {', '.join(sorted(named - known))}")
    return Family(name=data["name"], leads=tuple(data["leads"]), fields=fields, groups=groups)


def _field(name: str, data: dict[str, Any]) -> Field:
    return Field(
        name=name,
        keys=tuple(data["keys"]),
        kind=Kind(data.get("kind", Kind.TEXT)),
        values=tuple(data.get("values", data.get("value", ()))),
        say=tuple(data.get("say", ())),
        yes=tuple(data.get("yes", ())),
        no=tuple(data.get("no", ())),
        each=tuple(data.get("each", ())),
        parts=tuple(_field(part, value) for part, value in data.get("fields", {}).items()),
        element=Kind(data.get("of", Kind.TEXT)),
    )

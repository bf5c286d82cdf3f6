"""Families of texts: what can be said about an invoice, a match or a sensor, and under which keys.

    JSON file -> Split (instructions, line styles, families)

Promise: a family holds data only; a field that cannot be stated or a wording that names an
unknown field is refused when the file is read.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

SLOT = re.compile(r"\{(\w+)\}")


class Kind(StrEnum):
    """What a field holds."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    FLAG = "flag"  # true or false, stated by a sentence of its own
    ENUM = "enum"  # one of a few words
    LIST = "list"  # several texts or numbers
    ITEMS = "items"  # several small objects


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One thing that a text can state."""

    name: str
    keys: tuple[str, ...]
    kind: Kind
    values: tuple[str, ...]
    """Patterns of the grammar; for an enum its words."""
    say: tuple[str, ...]
    yes: tuple[str, ...]
    no: tuple[str, ...]
    each: tuple[str, ...]
    """Wordings of one small object of a field of kind ITEMS."""
    parts: tuple[Field, ...]
    """The fields of one small object."""
    element: Kind
    """What the elements of a LIST are: text, integer or number."""

    @property
    def label(self) -> str:
        """The field's first key as plain words."""
        return self.keys[0].replace("_", " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Fields that a schema may nest under one key, and their keys inside it."""

    keys: tuple[str, ...]
    inner_keys: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of text: its opening sentences and its fields."""

    name: str
    leads: tuple[str, ...]
    fields: tuple[Field, ...]
    groups: tuple[Group, ...]

    def field(self, name: str) -> Field:
        """Return the field of this name."""
        return next(field for field in self.fields if field.name == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineStyle:
    """How a text of labelled lines looks."""

    line: str
    join: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Everything that one part of the data set is written from."""

    instructions: tuple[str, ...]
    """The first one is the contract."""
    lines: tuple[LineStyle, ...]
    say: tuple[str, ...]
    noise: tuple[str, ...]
    families: tuple[Family, ...]


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

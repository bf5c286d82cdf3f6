"""Families of texts: what can be said about an invoice, a match or a sensor, and under which keys.

    Family -> fields, each with keys, values and wordings;  groups of fields that a schema may nest

Promise: a family holds data only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

SLOT = re.compile(r"\{(\w+)\}")
GROUP_SHARE = 0.35
"""How often fields that belong together are nested, unless their family says otherwise."""


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
    group_share: float = GROUP_SHARE

    def field(self, name: str) -> Field:
        """Return the field of this name."""
        return next(field for field in self.fields if field.name == name)

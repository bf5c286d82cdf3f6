"""Drawn graph schemas for questions: labels with properties, relationships, and how both are called.

    domain -> Drawn(labels, relationships) -> schema text; label -> value of a property

Promise: the first property of a label is its key, the one that names a node in a question and in an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from random import Random

    from expert_system.training.grammar import Grammar

QUOTED_SHARE = 0.2
"""Share of names that a question puts in quotation marks."""
MORE_SHARE = 0.4
"""How often a schema shows one more relationship than the question needs."""
EXTRA_PROPERTIES = (0, 2)
"""Fewest and most properties besides the key and those that the question asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """What a node stores under one name."""

    name: str
    pattern: str
    """Of the grammar; for a choice, its words with a bar between."""
    number: bool
    choice: bool

    @property
    def phrase(self) -> str:
        """As a question says it."""
        return self.name.replace("_", " ")

    def value(self, grammar: Grammar, rng: Random) -> str:
        """A value as plain text."""
        return rng.choice(self.pattern.split("|")) if self.choice else grammar.expand(self.pattern, rng)

    def literal(self, value: str) -> str:
        """A value as Cypher writes it."""
        return value if self.number else "'" + value.replace("'", "\\'") + "'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A kind of node."""

    name: str
    one: str
    many: str
    properties: tuple[Property, ...]

    @property
    def key(self) -> Property:
        """What names a node."""
        return self.properties[0]

    def others(self, *, number: bool) -> list[Property]:
        """Properties besides the key, numbers or texts."""
        return [found for found in self.properties[1:] if found.number is number]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relationship:
    """How nodes of two labels are joined."""

    start: Label
    type: str
    end: Label
    verb: str
    """Of several starts, such as "live in"."""
    verb3: str
    """Of one start, such as "lives in"."""

    @property
    def text(self) -> str:
        """As a schema shows it."""
        return f"({self.start.name})-[:{self.type}]->({self.end.name})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """Everything one graph can have; a request shows a part of it."""

    name: str
    labels: Mapping[str, Label]
    relationships: tuple[Relationship, ...]


def read_domain(data: Mapping[str, Any]) -> Domain:
    """Read one entry of a part's "graphs"."""
    labels = {
        name: Label(
            name=name,
            one=label["one"],
            many=label["many"],
            properties=tuple(_property(key, written) for key, written in label["properties"].items()),
        )
        for name, label in data["labels"].items()
    }
    edges = [{**edge, "start": labels[edge["start"]], "end": labels[edge["end"]]} for edge in data["edges"]]
    return Domain(name=data["name"], labels=labels, relationships=tuple(Relationship(**edge) for edge in edges))


def schema(domain: Domain, used: set[str], asked: set[tuple[str, str]], relationships: set[str], rng: Random) -> str:
    """The part of a graph that a request shows.

    Args:
        domain: the whole graph.
        used: labels that the query names.
        asked: (label, property) that the query names.
        relationships: texts of the relationships that the query names.
        rng: decides what else is shown, and the order.
    """
    shown = {found.text: found for found in domain.relationships if found.text in relationships}
    rest = [found for found in domain.relationships if found.text not in relationships]
    if rest and (not shown or rng.random() < MORE_SHARE):
        extra = rng.choice(rest)
        shown[extra.text] = extra
    names = used | {end.name for found in shown.values() for end in (found.start, found.end)}
    labels = [_shown(label, asked, rng) for name, label in domain.labels.items() if name in names]
    rng.shuffle(labels)
    joins = list(shown)
    rng.shuffle(joins)
    return "; ".join([*labels, *joins])


def _shown(label: Label, asked: set[tuple[str, str]], rng: Random) -> str:
    needed = {name for owner, name in asked if owner == label.name} | {label.key.name}
    others = [found.name for found in label.properties if found.name not in needed]
    needed |= set(rng.sample(others, min(len(others), rng.randint(*EXTRA_PROPERTIES))))
    return f"{label.name}({', '.join(found.name for found in label.properties if found.name in needed)})"


def _property(name: str, written: str) -> Property:
    kind, _, pattern = written.partition(" ")
    return Property(name=name, pattern=pattern, number=kind == "number", choice=kind == "choice")

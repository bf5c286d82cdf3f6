"""Questions on graphs and the Cypher query that answers each: the program behind expert-cypher.

    domain -> shape (words and query) -> graph schema that shows what is needed -> Row with a parsed check

Promise: a question has one canonical query, and all that it names stands in the graph of the request.

The canonical form: nodes are `a`, `b`, `c` in the order of the path; a path starts where its relationship starts, or at
the node that the question names when it leads there and back; equality stands inside the node, other conditions in
WHERE; a question that names no property is answered with the key, the first property of its label.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from expert_system.training.programs.cypher_graph import (
    QUOTED_SHARE,
    Domain,
    Label,
    Property,
    Relationship,
    read_domain,
    schema,
)
from expert_system.training.programs.sources import ARTICLE, Source, fill, open_source, with_article

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from expert_system.training.data.row import Row
    from expert_system.training.dataset_recipe import ProgramRecipe

LIMITS = (1, 2, 3, 5, 10)
HOPS = (2, 3, 4)


@dataclass(slots=True, kw_only=True)
class Draft:
    """A question that is being written, and what of the graph it names so far."""

    source: Source
    domain: Domain
    slots: dict[str, str] = field(default_factory=lambda: {"a": ARTICLE})
    labels: set[str] = field(default_factory=set)
    asked: set[tuple[str, str]] = field(default_factory=set)
    relationships: set[str] = field(default_factory=set)

    def node(self, variable: str, label: Label, condition: str = "") -> str:
        """A node's pattern."""
        self.labels.add(label.name)
        return f"({variable}:{label.name}{condition})"

    def get(self, variable: str, label: Label, asked: Property | None = None) -> str:
        """A property of a node; the key unless another is asked for."""
        wanted = asked or label.key
        self.asked.add((label.name, wanted.name))
        return f"{variable}.{wanted.name}"

    def named(self, variable: str, label: Label, slot: str = "v", asked: Property | None = None) -> str:
        """The pattern of a node with a certain key or property, whose value goes into a slot."""
        wanted = asked or label.key
        self.get(variable, label, wanted)
        return self.node(variable, label, f" {{{wanted.name}: {self.value(wanted, slot)}}}")

    def value(self, wanted: Property, slot: str) -> str:
        """A drawn value as Cypher writes it; the slot gets it as a question does."""
        text = wanted.value(self.source.grammar, self.source.rng)
        quoted = not wanted.number and self.source.rng.random() < QUOTED_SHARE
        self.slots[slot] = f'"{text}"' if quoted else text
        return wanted.literal(text)

    def call(self, label: Label) -> None:
        """Name the label in the question."""
        self.slots |= {"one": label.one, "many": label.many}

    def relationship(self, *, same: bool = False) -> Relationship | None:
        """Draw a relationship and name it and both ends; `same` asks for one between nodes of one label."""
        known = [found for found in self.domain.relationships if (found.start is found.end) is same]
        if not known:
            return None
        drawn = self.source.rng.choice(known)
        self.use(drawn)
        return drawn

    def use(self, drawn: Relationship) -> None:
        """Name a relationship and both its ends in the question."""
        self.call(drawn.start)
        self.relationships.add(drawn.text)
        self.slots |= {"end": drawn.end.one, "ends": drawn.end.many, "verb": drawn.verb, "verb3": drawn.verb3}

    def label(self) -> Label:
        """Draw a label and name it."""
        drawn = self.source.rng.choice(list(self.domain.labels.values()))
        self.call(drawn)
        return drawn

    def property(self, known: list[Property]) -> Property | None:
        """Draw one of some properties and name it."""
        if not known:
            return None
        drawn = self.source.rng.choice(known)
        self.slots["prop"] = drawn.phrase
        return drawn


class Cypher:
    """Writes questions with their queries."""

    def generate(self, section: ProgramRecipe, folder: Path, part: str) -> Iterator[Row]:
        """Write without end; what repeats is for the caller to leave out."""
        source = open_source(section, folder, part)
        domains = [read_domain(data) for data in source.data["graphs"]]
        while True:
            row = _row(source, source.rng.choice(domains))
            if row is not None:
                yield row


def _row(source: Source, domain: Domain) -> Row | None:
    """One question, or None when the graph has nothing of the drawn shape."""
    rng = source.rng
    shape = rng.choices(list(_SHAPES), weights=[weight for _, weight in _SHAPES.values()])[0]
    draft = Draft(source=source, domain=domain)
    query = _SHAPES[shape][0](draft, shape)
    if query is None:
        return None
    question = with_article(fill(rng.choice(source.data["questions"][shape]), draft.slots))
    graph = schema(domain, draft.labels, draft.asked, draft.relationships, rng)
    return source.row(
        {"graph": graph, "question": question},
        query,
        template=domain.name,
        tags=(f"shape:{shape}", f"domain:{domain.name}"),
        check={"kind": "cypher", "graph": graph},
    )


def _all(draft: Draft, shape: str) -> str | None:
    label = draft.label()
    asked = draft.property(list(label.properties))
    return f"MATCH {draft.node('a', label)} RETURN {draft.get('a', label, asked)}"


def _lookup(draft: Draft, shape: str) -> str | None:
    label = draft.label()
    asked = draft.property(list(label.properties[1:]))
    return f"MATCH {draft.named('a', label)} RETURN {draft.get('a', label, asked)}"


def _is(draft: Draft, shape: str) -> str | None:
    label = draft.label()
    asked = draft.property(label.others(number=False))
    if asked is None:
        return None
    return f"MATCH {draft.named('a', label, asked=asked)} RETURN {draft.get('a', label)}"


def _compare(draft: Draft, shape: str) -> str | None:
    label = draft.label()
    asked = draft.property(label.others(number=True))
    if asked is None:
        return None
    where = f"{draft.get('a', label, asked)} {'>' if shape == 'gt' else '<'} {draft.value(asked, 'v')}"
    return f"MATCH {draft.node('a', label)} WHERE {where} RETURN {draft.get('a', label)}"


def _text(draft: Draft, shape: str) -> str | None:
    label = draft.label()
    asked = draft.property([label.key]) or label.key
    words = asked.value(draft.source.grammar, draft.source.rng).split()
    piece = words[0][: draft.source.rng.randint(1, 3)] if shape == "starts" else draft.source.rng.choice(words)
    draft.slots["v"] = piece
    where = f"{draft.get('a', label)} {'STARTS WITH' if shape == 'starts' else 'CONTAINS'} {asked.literal(piece)}"
    return f"MATCH {draft.node('a', label)} WHERE {where} RETURN {draft.get('a', label)}"


def _count(draft: Draft, shape: str) -> str | None:
    return f"MATCH {draft.node('a', draft.label())} RETURN count(a)"


def _top(draft: Draft, shape: str) -> str | None:
    label = draft.label()
    asked = draft.property(label.others(number=True))
    if asked is None:
        return None
    limit = draft.source.rng.choice(LIMITS[1:])
    draft.slots["n"] = str(limit)
    order = draft.get("a", label, asked) + (" DESC" if shape == "top" else "")
    return f"MATCH {draft.node('a', label)} RETURN {draft.get('a', label)} ORDER BY {order} LIMIT {limit}"


def _forward(draft: Draft, shape: str) -> str | None:
    edge = draft.relationship(same=draft.source.rng.random() < 0.2)
    if edge is None:
        return None
    if shape == "forward_property":
        asked = draft.property(list(edge.end.properties[1:]))
        returned = draft.get("b", edge.end, asked)
    else:
        returned = "count(b)" if shape == "count_forward" else draft.get("b", edge.end)
    return f"MATCH {draft.named('a', edge.start)}-[:{edge.type}]->{draft.node('b', edge.end)} RETURN {returned}"


def _backward(draft: Draft, shape: str) -> str | None:
    edge = draft.relationship(same=draft.source.rng.random() < 0.2)
    if edge is None:
        return None
    returned = "count(a)" if shape == "count_backward" else draft.get("a", edge.start)
    return f"MATCH {draft.node('a', edge.start)}-[:{edge.type}]->{draft.named('b', edge.end)} RETURN {returned}"


def _filter(draft: Draft, shape: str) -> str | None:
    edge = draft.relationship()
    asked = draft.property(edge.start.others(number=True)) if edge is not None else None
    if edge is None or asked is None:
        return None
    path = f"{draft.node('a', edge.start)}-[:{edge.type}]->{draft.named('b', edge.end, 'w')}"
    where = f"{draft.get('a', edge.start, asked)} > {draft.value(asked, 'v')}"
    return f"MATCH {path} WHERE {where} RETURN {draft.get('a', edge.start)}"


def _pairs(draft: Draft, shape: str) -> str | None:
    edge = draft.relationship()
    if edge is None:
        return None
    path = f"MATCH {draft.node('a', edge.start)}-[:{edge.type}]->{draft.node('b', edge.end)}"
    key = draft.get("a", edge.start)
    match shape:
        case "most":
            return f"{path} RETURN {key}, count(b) ORDER BY count(b) DESC LIMIT 1"
        case "each":
            return f"{path} RETURN {key}, count(b)"
        case _:
            return f"{path} RETURN {key}, {draft.get('b', edge.end)}"


def _none(draft: Draft, shape: str) -> str | None:
    edge = draft.relationship()
    if edge is None:
        return None
    where = f"NOT (a)-[:{edge.type}]->{draft.node('', edge.end)}"
    return f"MATCH {draft.node('a', edge.start)} WHERE {where} RETURN {draft.get('a', edge.start)}"


def _hops(draft: Draft, shape: str) -> str | None:
    edge = draft.relationship(same=True)
    if edge is None:
        return None
    steps = draft.source.rng.choice(HOPS)
    draft.slots["n"] = str(steps)
    path = f"{draft.named('a', edge.start)}-[:{edge.type}*1..{steps}]-{draft.node('b', edge.end)}"
    return f"MATCH {path} RETURN DISTINCT {draft.get('b', edge.end)}"


def _same(draft: Draft, shape: str) -> str | None:
    edge = draft.relationship()
    if edge is None:
        return None
    there = f"{draft.named('a', edge.start)}-[:{edge.type}]->{draft.node('b', edge.end)}"
    path = f"{there}<-[:{edge.type}]-{draft.node('c', edge.start)}"
    return f"MATCH {path} RETURN DISTINCT {draft.get('c', edge.start)}"


def _two(draft: Draft, shape: str) -> str | None:
    pairs = [
        (one, two)
        for one in draft.domain.relationships
        for two in draft.domain.relationships
        if one.end is two.start and one.start is not one.end and two.start is not two.end
    ]
    if not pairs:
        return None
    one, two = draft.source.rng.choice(pairs)
    draft.use(two)
    draft.use(one)
    draft.slots |= {"middle": one.end.one, "second3": two.verb3}
    middle = f"-[:{one.type}]->{draft.node('b', one.end)}-[:{two.type}]->"
    path = f"{draft.node('a', one.start)}{middle}{draft.named('c', two.end)}"
    return f"MATCH {path} RETURN {draft.get('a', one.start)}"


_Shape = Callable[["Draft", str], "str | None"]
_SHAPES: dict[str, tuple[_Shape, int]] = {
    "all": (_all, 5),
    "lookup": (_lookup, 7),
    "is": (_is, 6),
    "gt": (_compare, 6),
    "lt": (_compare, 4),
    "starts": (_text, 3),
    "contains": (_text, 3),
    "count": (_count, 4),
    "top": (_top, 6),
    "bottom": (_top, 4),
    "forward": (_forward, 14),
    "backward": (_backward, 14),
    "forward_property": (_forward, 6),
    "count_forward": (_forward, 6),
    "count_backward": (_backward, 6),
    "filter": (_filter, 7),
    "most": (_pairs, 4),
    "each": (_pairs, 4),
    "pairs": (_pairs, 4),
    "none": (_none, 4),
    "hops": (_hops, 8),
    "same": (_same, 5),
    "two": (_two, 6),
}
"""Name -> how it is asked and answered, and how often it is tried."""

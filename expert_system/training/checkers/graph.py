"""Read the schema of a graph as a prompt writes it.

    "Person(name, age); City(name); (Person)-[:LIVES_IN {since}]->(City)" -> Graph

Promise: what is not of this form is refused, and a relationship joins labels that the text names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from expert_system.errors import PackageError

_LABEL = re.compile(r"(\w+)\s*\(([^()]*)\)")
_JOIN = re.compile(r"\((\w+)\)-\[:(\w+)\s*(?:[({]([^(){}]*)[)}])?\]->\((\w+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Which labels, relationships and properties there are."""

    labels: dict[str, frozenset[str]]
    """Each label's properties."""
    types: dict[str, frozenset[str]]
    """Each relationship's properties."""
    joins: frozenset[tuple[str, str, str]]
    """From which label each relationship leads to which: (start, relationship, end)."""

    @property
    def properties(self) -> frozenset[str]:
        """Every property of anything."""
        return frozenset().union(*self.labels.values(), *self.types.values())


def read_graph(text: object) -> Graph:
    """Read a graph's schema.

    Raises:
        PackageError: it is not of the form above.
    """
    if not isinstance(text, str):
        raise PackageError('"graph" must be a text such as "Person(name); City(name); (Person)-[:LIVES_IN]->(City)"')
    labels: dict[str, frozenset[str]] = {}
    types: dict[str, frozenset[str]] = {}
    joins: set[tuple[str, str, str]] = set()
    for part in (part.strip() for part in re.split(r"[;\n]", text)):
        if label := _LABEL.fullmatch(part):
            labels[label[1]] = _names(label[2])
        elif join := _JOIN.fullmatch(part):
            types[join[2]] = types.get(join[2], frozenset()) | _names(join[3] or "")
            joins.add((join[1], join[2], join[4]))
        elif part:
            raise PackageError(f"not a label and not a relationship of a graph: {part[:80]!r}")
    unknown = {end for start, _, finish in joins for end in (start, finish)} - labels.keys()
    if unknown:
        raise PackageError(f"relationships join labels that the graph does not have: {', '.join(sorted(unknown))}")
    return Graph(labels=labels, types=types, joins=frozenset(joins))


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",") if name.strip())

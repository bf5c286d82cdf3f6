"""The data of expert-cypher: every query parses and fits its graph, and nothing of the test part is in training."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

from expert_system.training.cases import case_of
from expert_system.training.checkers import check
from expert_system.training.checkers.cypher import parse
from expert_system.training.checkers.graph import read_graph
from expert_system.training.dataset import TEST, TRAIN, VALIDATION, Part

EXPERT = "expert-cypher"
CHECKED = 60
"""Held-out rows that the whole check is run on; it takes 10 ms for each."""
SHARED = {"name"}


def names(source: Mapping[str, Any]) -> set[str]:
    """Every label, relationship, property, and what questions call them."""
    found: set[str] = set()
    for graph in source["graphs"]:
        for label, data in graph["labels"].items():
            found |= {label, data["one"], data["many"], *data["properties"]}
        for edge in graph["edges"]:
            found |= {edge["type"], edge["verb"]}
    return found - SHARED


def skeleton(query: str) -> str:
    """A query with its names and values blanked: what the grammar sees of it."""
    query = re.sub(r"'(?:[^'\\]|\\.)*'", "'x'", query)
    query = re.sub(r":\s?(\w+)", ":X", re.sub(r"\.\w+", ".p", re.sub(r"\{\w+: \w+\}", "{p: 1}", query)))
    return re.sub(r"\{\w+: 'x'\}|\{\w+:X\}", "{p: 'x'}", re.sub(r"\b\d+\b", "1", query))


def test_every_query_parses(parts_of: Callable[[str], Mapping[str, Part]]) -> None:
    """All rows of all parts, each form of a query once: they differ in names and values only."""
    forms = {skeleton(row.answer): row.answer for part in parts_of(EXPERT).values() for row in part.examples}

    assert 20 <= len(forms) <= 40
    assert [] == [query for query in forms.values() if isinstance(parse(query), str)]


def test_what_a_query_names_stands_in_its_graph(parts_of: Callable[[str], Mapping[str, Part]]) -> None:
    """Labels, relationships and properties, in all rows of all parts."""
    wrong = []
    for row in (row for part in parts_of(EXPERT).values() for row in part.examples):
        assert row.check is not None
        graph = read_graph(row.check["graph"])
        query = re.sub(r"'(?:[^'\\]|\\.)*'", "''", row.answer)
        labels, types = set(re.findall(r"\(\w*:(\w+)", query)), set(re.findall(r"\[:(\w+)", query))
        properties = set(re.findall(r"\b[abc]\.(\w+)", query)) | set(re.findall(r"\{(\w+):", query))
        if not (labels <= graph.labels.keys() and types <= graph.types.keys() and properties <= graph.properties):
            wrong.append(row.answer)

    assert [] == wrong


def test_held_out_references_pass_their_check(parts_of: Callable[[str], Mapping[str, Part]]) -> None:
    """The checker itself calls the reference right."""
    cases = [case_of(row) for row in parts_of(EXPERT)[TEST].examples[:CHECKED]]

    assert [] == [case.answer for case in cases if not check("cypher", case, case.answer).right]


def test_parts_share_no_name_and_no_wording(sources_of: Callable[[str], Mapping[str, Any]]) -> None:
    """README: held-out graphs and questions are new, the property `name` aside."""
    sources = sources_of(EXPERT)

    def questions(part: str) -> set[str]:
        return {text for texts in sources[part]["questions"].values() for text in texts}

    for one, other in combinations((TRAIN, VALIDATION, TEST), 2):
        assert set() == names(sources[one]) & names(sources[other])
        assert set() == questions(one) & questions(other)


def test_every_shape_is_trained_and_held_out(parts_of: Callable[[str], Mapping[str, Part]]) -> None:
    """Twenty-three shapes of questions, in both parts."""
    shapes = [{row.tag("shape") for row in parts_of(EXPERT)[part].examples} for part in (TRAIN, TEST)]

    assert 23 == len(shapes[0])
    assert shapes[0] == shapes[1]

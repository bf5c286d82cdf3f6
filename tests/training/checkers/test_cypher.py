"""Cypher by a real parser, held against the graph's schema."""

from __future__ import annotations

import pytest

from expert_system.errors import PackageError
from expert_system.training.cases import Case
from expert_system.training.checkers.cypher import check
from expert_system.training.checkers.graph import read_graph

GRAPH = "Person(name, age); City(name, country); (Person)-[:LIVES_IN {since}]->(City); (Person)-[:KNOWS]->(Person)"
REFERENCE = (
    "MATCH (p:Person)-[:LIVES_IN]->(c:City) WHERE c.country = 'Spain' RETURN p.name AS n ORDER BY n DESC LIMIT 3"
)
CASE = Case(messages=({"role": "user", "content": "?"},), answer=REFERENCE, data={"graph": GRAPH})


def outcome(answer: str) -> tuple[float, ...]:
    measures = check(CASE, answer).measures
    return tuple(measures[name] for name in ("parses", "valid", "exact", "exact_anywhere"))


@pytest.mark.parametrize(
    "answer",
    [
        REFERENCE + ";",
        REFERENCE.replace("'", '"'),
        REFERENCE.replace("MATCH", "match").replace("ORDER BY", "order  by"),
        "MATCH (x:Person)-[:LIVES_IN]->(y:City)\nWHERE y.country = 'Spain'\nRETURN x.name AS z ORDER BY z DESC LIMIT 3",
        "MATCH (`the one`:Person)-[:LIVES_IN]->(c:City) WHERE c.country='Spain' RETURN `the one`.name AS n ORDER BY n DESC LIMIT 3",
    ],
)
def test_names_of_variables_and_looks_do_not_matter(answer: str) -> None:
    """The same query in other clothes is the same query."""
    assert (1.0, 1.0, 1.0, 1.0) == outcome(answer)


@pytest.mark.parametrize(
    "answer",
    [
        REFERENCE.replace("Spain", "spain"),
        REFERENCE.replace("p.name", "p.age"),
        REFERENCE.replace(" DESC", ""),
        REFERENCE.replace("->", "-"),
        REFERENCE.replace("c.country", "p.country").replace("(p:Person)", "(p)"),
    ],
)
def test_what_changes_the_result_matters(answer: str) -> None:
    """Values, properties, order and direction are the query."""
    assert 0.0 == outcome(answer)[2]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("MATCH (p:Human) RETURN p", "no label Human"),
        ("MATCH (p:Person)-[:LOVES]->(q) RETURN q", "no relationship LOVES"),
        ("MATCH (c:City)-[:LIVES_IN]->(p:Person) RETURN p", "leads from City to Person"),
        ("MATCH (p:Person), (c:City) MATCH (c)-[:LIVES_IN]->(p) RETURN p", "leads from City to Person"),
        ("MATCH (p:Person) RETURN p.country", "Person has no property country"),
        ("MATCH (p:Person {country: 'x'}) RETURN p", "Person has no property country"),
        ("MATCH (p:Person)-[k:KNOWS]->() RETURN k.since", "KNOWS has no property since"),
        ("MATCH (p) RETURN p.height", "has no property height"),
    ],
)
def test_a_query_on_another_graph_parses_and_is_not_valid(answer: str, problem: str) -> None:
    """Valid means that every label, relationship, direction and property is in the schema."""
    verdict = check(CASE, answer)

    assert (1.0, 0.0) == (verdict.measures["parses"], verdict.measures["valid"])
    assert problem in verdict.problem


@pytest.mark.parametrize(
    "answer",
    [
        "MATCH (p:Person)<-[:KNOWS]-(q:Person) RETURN count(q)",
        "MATCH (c:City)<-[l:LIVES_IN]-(p:Person) WHERE l.since > 2000 RETURN p.name, avg(p.age)",
        "MATCH (p:Person)-[:KNOWS*1..3]->(q) WITH q, count(*) AS n WHERE n > 1 RETURN q.name ORDER BY n",
        "MATCH (p:Person) WHERE NOT (p)-[:LIVES_IN]->() RETURN p.name UNION MATCH (c:City) RETURN c.name",
    ],
)
def test_what_the_graph_has_is_valid(answer: str) -> None:
    """Aggregates, paths of several steps, negated patterns and unions are openCypher."""
    assert (1.0, 1.0, 0.0, 0.0) == outcome(answer)


@pytest.mark.parametrize(
    "answer", ["SELECT * FROM Person", "MATCH (p:Person RETURN p", "MATCH (p) RETURN", REFERENCE + " x y"]
)
def test_what_does_not_parse_is_neither_valid_nor_exact(answer: str) -> None:
    """The grammar decides, not a search for keywords."""
    assert (0.0, 0.0, 0.0) == outcome(answer)[:3]


def test_a_right_query_among_other_words_is_counted_apart() -> None:
    """For the base, which answers in prose."""
    assert (0.0, 0.0, 0.0, 1.0) == outcome(f"Sure! ```cypher\n{REFERENCE}\n``` lists them.")


@pytest.mark.parametrize("text", ["Person", "Person(name); (Person)-[:IN]->(City)", "Person(name); (Person)--(Person)"])
def test_a_graph_that_cannot_be_read_is_refused(text: str) -> None:
    """The author's mistake is not the expert's."""
    with pytest.raises(PackageError):
        read_graph(text)

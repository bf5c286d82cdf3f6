"""Names of formats and technologies are whole words, and asked for is more than named."""

from __future__ import annotations

import pytest

from expert_system.routing.words import index_phrases, is_asked, phrases_for, phrases_of, tokens_of


def named(text: str, *capabilities: str) -> set[str]:
    """The capabilities that a text names."""
    index = index_phrases(capabilities)
    first = {phrase.partition(" ")[0] for phrase in index}
    return {found for _, phrase in phrases_of(tokens_of(text), first) for found in index.get(phrase, ())}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a SQL query", {"tech:sql"}),
        ("use PostgreSQL", {"tech:sql"}),
        ("the sequel of mysqlish", set()),
        ("im JSON-Format", {"format:json"}),
        ("jsonify it", set()),
        ("let it go", set()),
        ("a golang function", {"tech:go"}),
        ("C++ please", {"tech:cpp"}),
        ("a comma-separated list", {"format:csv"}),
        ("restart nginx", {"tech:nginx"}),
    ],
)
def test_a_name_is_a_whole_word(text: str, expected: set[str]) -> None:
    """Never a substring; a word that is common English counts only in a phrase without doubt."""
    known = ("tech:sql", "format:json", "tech:go", "tech:cpp", "format:csv", "tech:nginx")

    assert expected == named(text, *known)


def test_an_unlisted_capability_is_named_by_its_value() -> None:
    """An expert added later is found by its own words, without a change here."""
    assert ("machine shop",) == phrases_for("domain:machine-shop")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("return it as a valid JSON", True),
        ("devolva em JSON", True),
        ("convert to JSON", True),
        ("give me a JSON", True),
        ("what is JSON", False),
        ("JSON", False),
        ("explain why my JSON fails", False),
    ],
)
def test_asked_for_is_more_than_spoken_of(text: str, expected: bool) -> None:
    """`as JSON` asks for it, `what is JSON` does not."""
    tokens = tokens_of(text)

    assert expected is is_asked(tokens, tokens.index("json"))

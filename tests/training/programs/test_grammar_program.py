"""The data of expert-english-basic: right answers, every kind of error, and nothing of the test part in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from random import Random
from typing import Any

import pytest

from expert_system.training.dataset import TEST, TRAIN, VALIDATION, Part
from expert_system.training.programs.grammar import misspelt
from expert_system.training.programs.grammar_frames import article, plural

EXPERT = "expert-english-basic"
OWN = (
    "frames",
    "verbs",
    "nouns",
    "adjectives",
    "comparatives",
    "mass",
    "places",
    "vehicles",
    "periods",
    "ago",
    "months",
)
"""Pools that each part has for itself."""
KINDS = {
    *("agreement", "tense", "form", "article", "preposition", "plural", "pronoun", "comparison", "quantity"),
    *("order", "spelling", "capital", "punctuation"),
}


def test_parts_share_no_frame_and_none_of_their_own_words(sources_of: Callable[[str], Mapping[str, Any]]) -> None:
    """README: frames, verbs, adjectives, times and places of the held-out part are new."""
    sources = sources_of(EXPERT)

    for one, other in combinations((TRAIN, VALIDATION, TEST), 2):
        for pool in OWN:
            assert set() == set(sources[one][pool]) & set(sources[other][pool]), pool
    verbs = [{verb.split()[0] for verb in sources[part]["verbs"]} for part in (TRAIN, VALIDATION, TEST)]
    assert all(set() == one & other for one, other in combinations(verbs, 2))


@pytest.mark.parametrize("part", [TRAIN, TEST])
def test_one_text_in_five_is_right_already(part: str, parts_of: Callable[[str], Mapping[str, Part]]) -> None:
    """README: about 20 of a hundred texts have no error, and those alone come back unchanged."""
    rows = parts_of(EXPERT)[part].examples
    unchanged = [row for row in rows if row.answer in row.prompt]
    right = [row for row in rows if row.tag("errors") == "0"]

    assert 0.15 <= len(right) / len(rows) <= 0.25
    # A text whose last mark is all that is missing stands in its answer, never the answer in it.
    assert right == unchanged


def test_every_kind_of_error_is_trained(parts_of: Callable[[str], Mapping[str, Part]]) -> None:
    """README names thirteen kinds."""
    tags = {
        tag.partition(":")[2] for row in parts_of(EXPERT)[TRAIN].examples for tag in row.tags if tag[:6] == "error:"
    }

    assert KINDS == tags


def test_an_answer_is_whole_sentences(parts_of: Callable[[str], Mapping[str, Part]]) -> None:
    """No site, slot or double space is left, and the text starts with a capital and ends with a mark."""
    wrong = [
        row.answer
        for part in parts_of(EXPERT).values()
        for row in part.examples
        if any(sign in row.answer for sign in ("[", "]", "{", "}", "|", "#", "  "))
        or not (row.answer[0].isupper() and row.answer[-1] in ".?")
    ]

    assert [] == wrong


@pytest.mark.parametrize(
    ("noun", "many"),
    [
        ("cat", "cats"),
        ("box", "boxes"),
        ("city", "cities"),
        ("day", "days"),
        ("knife", "knives"),
        ("child/children", "children"),
    ],
)
def test_plurals(noun: str, many: str) -> None:
    """Regular nouns by rule, the others bring their own."""
    assert many == plural(noun)


@pytest.mark.parametrize(("words", "right"), [("apple", "an"), ("red apple", "a"), ("uniform", "a"), ("old man", "an")])
def test_articles(words: str, right: str) -> None:
    """By sound, not by letter."""
    assert right == article(words)


def test_a_misspelt_word_is_never_another_word() -> None:
    """Who corrects it must be able to tell what was meant."""
    rng = Random(1)

    assert all(misspelt("three", frozenset({"there", "tree"}), rng) not in {"there", "tree"} for _ in range(50))

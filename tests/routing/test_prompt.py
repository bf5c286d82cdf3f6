"""Reading a prompt: bounded, normalised, never an exception."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expert_system.routing.language import UNKNOWN
from expert_system.routing.prompt import MAX_HEAD_CHARS, MAX_TAIL_CHARS, normalised, read_prompt

CONTRACTS = {
    'Schema: {"type": "object", "properties": {"a": {}}}\nText: x': {"format:json"},
    "Schema: products(id, name, price); orders(id, product_id)\nQuestion: x": {"tech:sql"},
    "create table t (a int); what is in it?": {"tech:sql"},
    "Graph: Person(name); (Person)-[:LIVES_IN]->(City)\nQuestion: x": {"tech:cypher"},
    "name,age,city\nAnna,3,Porto\nBo,4,Rome": {"format:csv"},
    "<order id='1'><item>shoes</item></order>": {"format:xml"},
    "one, two, three and four, five, six": set(),
    "{not json}": set(),
    "if a < b and c > d": set(),
    "[1, 2, 3]": set(),
}


@pytest.mark.parametrize("text", CONTRACTS)
def test_data_is_told_by_parsers_and_unmistakable_patterns(text: str) -> None:
    """What merely looks a little like a format is none."""
    assert CONTRACTS[text] == read_prompt(text).carried


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\u200bb\u202ec", "abc"),
        ("\uff2a\uff33\uff2f\uff2e", "JSON"),
        ("a\x00b\x07c", "a b c"),
        ("a \t  b\r\n\r\n\r\n\r\nc", "a b\n\nc"),
        ("\ud800lone", "lone"),
        ("  ", ""),
    ],
)
def test_one_written_form(text: str, expected: str) -> None:
    """Invisible characters part no word, control characters do, look-alikes are made alike."""
    assert expected == normalised(text)


def test_only_head_and_tail_of_a_long_prompt_are_read() -> None:
    """Questions stand at the beginning or the end; the middle is payload."""
    prompt = read_prompt("Summarise this " + "x " * 5_000_000 + " as JSON")

    assert ("summarise", "json") == (prompt.tokens[0], prompt.tokens[-1])
    assert len(prompt.text) <= MAX_HEAD_CHARS + MAX_TAIL_CHARS + 1


def test_ten_megabytes_of_noise_are_read_in_bounded_time() -> None:
    """Random bytes: never an exception, never a wait."""
    noise = random.Random(1).randbytes(10_000_000)
    started = time.process_time()

    read_prompt(noise.decode("latin-1"))
    read_prompt(noise.decode("utf-8", "surrogateescape"))

    assert time.process_time() - started < 3.0


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Show the customers who bought the most shoes last year", "en"),
        ("Extraia os dados deste texto em formato JSON, por favor", "pt"),
        ("Schreibe bitte eine kurze Geschichte über den Mond", "de"),
    ],
)
def test_the_language_of_a_sentence_is_told(text: str, code: str) -> None:
    """Restricted to the languages that matter, with a probability."""
    assert code == read_prompt(text).language.code
    assert read_prompt(text).language.probability > 0.9


@pytest.mark.parametrize("text", ["hi", "", "ok 12", "JSON", "…"])
def test_of_a_word_no_language_is_told(text: str) -> None:
    """Too short to tell is unknown, never a guess."""
    assert UNKNOWN == read_prompt(text).language


@given(st.text(max_size=300))
def test_any_text_is_read_the_same_twice(text: str) -> None:
    """Never an exception; reading what was read changes nothing."""
    prompt = read_prompt(text)

    assert prompt == read_prompt(text)
    assert prompt.text == normalised(prompt.text)
    assert 0.0 <= prompt.masked_share <= 1.0

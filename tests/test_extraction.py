"""The grammar that holds an answer to its text, through the library that the engine compiles it with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import xgrammar

from expert_system.domain import GrammarType
from expert_system.errors import InvalidRequest
from expert_system.extraction import MAX_ELEMENTS, MAX_WORDS, extractive

if TYPE_CHECKING:
    from collections.abc import Sequence

COMPILER = xgrammar.GrammarCompiler(xgrammar.TokenizerInfo([bytes([code]) for code in range(256)], stop_token_ids=[0]))
TEXT = 'On 2024-05-07 Dr. Ada "Bo" Lovelace paid €1,250.50 for 3 lamps.\nRoom: 12-B'


def of(kind: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"v": {"type": kind, **more}}, "required": ["v"]}


def allowed(schema: dict[str, Any], text: str, answer: str) -> bool:
    grammar = extractive(json.dumps(schema), text)
    assert GrammarType.EBNF is grammar.type
    matcher = xgrammar.GrammarMatcher(COMPILER.compile_grammar(grammar.source), terminate_without_stop_token=True)
    return matcher.accept_string(answer) and matcher.is_terminated()


@pytest.mark.parametrize(
    "value", ["Dr. Ada", 'Ada "Bo" Lovelace', "2024-05-07", "lamps.\nRoom", "12-B", "1,250.50", ""]
)
def test_a_string_is_a_run_of_the_texts_words(value: str) -> None:
    """To the letter, escaped as JSON escapes it; a string may be empty, since a required one has to be something."""
    assert allowed(of("string"), TEXT, json.dumps({"v": value}))


@pytest.mark.parametrize("value", ["Ada Lovelace", "Dr. Adam", "ada", "ovelace", "lamp", "Dr.  Ada"])
def test_no_other_string_is_allowed(value: str) -> None:
    """Not a word of its own, no part of a word, no word left out, no other case."""
    assert not allowed(of("string"), TEXT, json.dumps({"v": value}))


@pytest.mark.parametrize(
    ("kind", "value", "right"),
    [
        ("number", "1250.50", True),
        ("number", "3", True),
        ("integer", "3", True),
        ("integer", "1250.50", False),
        ("number", "1,250.50", False),
        ("number", "2024", False),
        ("number", "30", False),
    ],
)
def test_a_number_is_one_of_the_texts(kind: str, value: str, right: bool) -> None:
    """Digits as written, thousands commas dropped; the parts of a date are no numbers."""
    assert right is allowed(of(kind), TEXT, f'{{"v": {value}}}')


def test_without_numbers_in_the_text_any_is_allowed() -> None:
    """An answer has to be possible."""
    assert allowed(of("integer"), "two lamps", '{"v": 2}')


def test_keys_come_in_the_schemas_order_and_optional_ones_may_be_left_out() -> None:
    """The answer is valid against the schema, with one way to write it."""
    properties = {key: {"type": "string"} for key in "abc"}
    schema = {"type": "object", "properties": properties, "required": ["b"]}
    right = ('{"b": "x"}', '{"a": "x", "b": "x"}', '{"b": "x", "c": "x"}', '{"a": "x", "b": "x", "c": "x"}')
    wrong = ("{}", '{"a": "x"}', '{"b": "x", "a": "x"}', '{"b": "x", }', '{, "b": "x"}', '{"b": "x", "d": "x"}')

    assert [True] * len(right) == [allowed(schema, "x", answer) for answer in right]
    assert [False] * len(wrong) == [allowed(schema, "x", answer) for answer in wrong]


def test_every_other_kind_follows_the_schema() -> None:
    """Members of an enum need not stand in the text; arrays, objects, null and references are followed."""
    schema = {
        "type": "object",
        "$defs": {
            "node": {"type": "object", "properties": {"name": {"type": "string"}, "next": {"$ref": "#/$defs/node"}}}
        },
        "properties": {
            "size": {"enum": ["big", 5]},
            "ok": {"type": "boolean"},
            "none": {"type": ["string", "null"]},
            "tags": {"type": "array", "items": {"type": "string"}},
            "node": {"$ref": "#/$defs/node"},
        },
        "required": ["size", "ok", "none", "tags", "node"],
    }
    answer = {
        "size": "big",
        "ok": True,
        "none": None,
        "tags": ["a", "b a"],
        "node": {"name": "a", "next": {"name": "b"}},
    }

    assert allowed(schema, "a b a", json.dumps(answer))
    assert allowed(schema, "a b a", json.dumps({**answer, "size": 5, "tags": [], "node": {}}))
    assert not allowed(schema, "a b a", json.dumps({**answer, "size": "small"}))
    assert not allowed(schema, "a b a", json.dumps({**answer, "tags": ["c"]}))


def test_the_schema_in_a_prompt_is_not_quoted_from() -> None:
    """A prompt holds both; keys and types of the schema are no data."""
    schema = of("string")
    prompt = f"Extract.\nSchema: {json.dumps(schema)}\nText: {{Ada}} string"

    assert allowed(schema, prompt, '{"v": "Ada"}')
    assert not allowed(schema, prompt, '{"v": "object"}')


@pytest.mark.parametrize(
    ("more", "numbers"),
    [
        ({}, range(MAX_ELEMENTS + 1)),
        ({"minItems": 1, "maxItems": 2}, (1, 2)),
        ({"minItems": MAX_ELEMENTS + 1}, (MAX_ELEMENTS + 1,)),
    ],
)
def test_an_array_has_an_end(more: dict[str, int], numbers: Sequence[int]) -> None:
    """A model that repeats one quotation would fill the answer; the schema's own bounds go before ours."""
    schema = of("array", items={"type": "string"}, **more)

    fits = [count for count in range(MAX_ELEMENTS + 3) if allowed(schema, TEXT, json.dumps({"v": ["paid"] * count}))]

    assert list(numbers) == fits


def test_an_array_may_have_to_be_empty() -> None:
    """maxItems 0 leaves one answer."""
    schema = of("array", items={"type": "string"}, maxItems=0)

    assert allowed(schema, TEXT, '{"v": []}')
    assert not allowed(schema, TEXT, '{"v": ["paid"]}')


def test_braces_without_end_in_the_text_are_text() -> None:
    """Looking for the schema in a prompt stumbles over nothing that a prompt can hold."""
    assert allowed(of("string"), '{"a":' + "[" * 3000, '{"v": "a"}')


@pytest.mark.parametrize(
    ("schema", "text", "named"),
    [
        ("{", "x", "schema"),
        ("true", "x", "schema"),
        (json.dumps(of("string", pattern="a+")), "x", r"schema\.v\.pattern"),
        (json.dumps(of("text")), "x", r"schema\.v\.type"),
        (json.dumps({"type": "object"}), "x", r"schema\.properties"),
        (json.dumps({"type": "object", "properties": {"v": {"$ref": "#/$defs/no"}}}), "x", r"\$ref"),
        (json.dumps(of("string")), "x " * (MAX_WORDS + 1), "text"),
        ('{"type":"array","items":' * 900 + "{}" + "}" * 900, "x", "schema: is nested too deeply"),
        ('{"items":' * 50_000, "x", "schema: is nested too deeply"),
        (
            json.dumps(of("array", items={"type": "string"}, minItems=3, maxItems=2)),
            "x",
            r"schema\.v\.maxItems: minItems 3",
        ),
        (json.dumps(of("array", items={"type": "string"}, maxItems="2")), "x", r"schema\.v\.maxItems"),
        (json.dumps({"anyOf": [of("string")], "properties": {}}), "x", r"schema\.properties: stands beside anyOf"),
        (json.dumps({"anyOf": [of("string")], "required": ["v"]}), "x", r"schema\.required: stands beside anyOf"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(schema: str, text: str, named: str) -> None:
    """A keyword that was silently ignored would promise too much."""
    with pytest.raises(InvalidRequest, match=named):
        extractive(schema, text)

"""Hold an extraction to its text: an answer under a JSON Schema whose strings and numbers stand in the text.

    JSON Schema + text -> EBNF -> Grammar, for a request's sampling parameters

Promise: every string of an answer is empty or a run of the text's words, to the letter, and every number is one of the
text's, thousands commas dropped, or any where the text has none; keys come in the schema's order, each as its schema says.
The grammar says what can be quoted, not what is meant: choosing the right words stays with the model.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from expert_system.domain import Grammar, GrammarType
from expert_system.errors import InvalidRequest

MAX_WORDS = 4000
"""Of the text; each becomes a rule."""
MAX_ELEMENTS = 24
"""Of an array whose schema has no maxItems: a model that repeats itself still comes to an end."""
UNDERSTOOD = frozenset(
    [
        "$schema",
        "$id",
        "$defs",
        "definitions",
        "$ref",
        "title",
        "description",
        "default",
        "examples",
        "format",
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "minItems",
        "maxItems",
        "enum",
        "const",
        "anyOf",
        "oneOf",
    ]
)
"""Keywords that the grammar follows, or that forbid nothing."""

_STRUCTURE = ("properties", "required", "items", "minItems", "maxItems", "enum", "const")
"""Keywords that would restrict a value further where it has alternatives."""
_WORD = re.compile(r"\w+|[^\w\s]")
_NUMBER = re.compile(r"(?<!\w)-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?!\w)")
_COMPOUND = re.compile(r"\d+(?:[-/.:]\d+){2,}|\d+[:/]\d+")
"""Dates, times, addresses and telephone numbers, whose parts are no numbers by themselves."""


def extractive(schema: str, text: str) -> Grammar:
    """Write the grammar of all answers that the schema allows and the text has the words for.

    Args:
        schema: a JSON Schema with an object at the top.
        text: what is extracted from; where it holds the schema too, as a prompt does, the schema is no part of it.

    Raises:
        InvalidRequest: the schema is not JSON, is nested too deeply, uses a keyword that is not understood, or the text
            is too long.
    """
    try:
        return _extractive(json.loads(schema), text)
    except json.JSONDecodeError as error:
        raise InvalidRequest("schema", f"is not JSON: {error}") from None
    except RecursionError:
        raise InvalidRequest("schema", "is nested too deeply; a few levels are what an answer can hold") from None


def _extractive(read: Any, text: str) -> Grammar:
    length = sum(1 for _ in _WORD.finditer(text))
    if length > MAX_WORDS:
        raise InvalidRequest("text", f"has {length} words and marks; {MAX_WORDS} at most")
    text = _without(read, text)
    words = list(_WORD.finditer(text))
    writer = _Writer(root=read, numbers=_numbers(text))
    top = writer.value(read, "schema")
    rules = [f"root ::= {top}", *writer.rules, *_spans(text, words)]
    return Grammar(type=GrammarType.EBNF, source="\n".join(rules) + "\n")


@dataclass(slots=True)
class _Writer:
    """Turns schemas into expressions; objects and arrays get rules of their own."""

    root: Any
    numbers: tuple[str, ...]
    rules: list[str] = field(default_factory=list)
    named: dict[str, str] = field(default_factory=dict)
    """Rules of `$ref`s, so that a schema may refer to itself."""
    made: int = 0

    def value(self, schema: Any, where: str) -> str:
        """The expression of one value."""
        if not isinstance(schema, dict):
            raise InvalidRequest(where, "has to be an object; true and false say nothing of what to extract")
        for keyword in schema:
            if keyword not in UNDERSTOOD:
                raise InvalidRequest(f"{where}.{keyword}", "is a keyword that an extractive grammar does not follow")
        if "$ref" in schema:
            return self._referred(schema["$ref"], where)
        if "const" in schema:
            return _literal(json.dumps(schema["const"], ensure_ascii=False))
        if "enum" in schema:
            return _any([_literal(json.dumps(entry, ensure_ascii=False)) for entry in schema["enum"]])
        for several in ("anyOf", "oneOf"):
            if several in schema:
                if beside := [keyword for keyword in _STRUCTURE if keyword in schema]:
                    raise InvalidRequest(
                        f"{where}.{beside[0]}", f"stands beside {several}; write it into each alternative"
                    )
                return _any([self.value(one, f"{where}.{several}") for one in schema[several]])
        kinds = schema.get("type")
        if isinstance(kinds, list):
            return _any([self._typed(kind, schema, where) for kind in kinds])
        return self._typed(kinds, schema, where)

    def _typed(self, kind: Any, schema: dict[str, Any], where: str) -> str:
        match kind:
            case "string":
                return "string"
            case "integer":
                return self._among([number for number in self.numbers if "." not in number], '"-"? [0-9]+')
            case "number":
                return self._among(list(self.numbers), '"-"? [0-9]+ ("." [0-9]+)?')
            case "boolean":
                return '("true" | "false")'
            case "null":
                return '"null"'
            case "array":
                return self._array(schema, where)
            case "object":
                return self._object(schema, where)
            case _:
                raise InvalidRequest(f"{where}.type", f"{kind!r} is no type of JSON Schema")

    def _among(self, numbers: list[str], otherwise: str) -> str:
        return _any([_literal(number) for number in numbers]) if numbers else f"({otherwise})"

    def _array(self, schema: dict[str, Any], where: str) -> str:
        least = schema.get("minItems", 0)
        most = schema.get("maxItems", max(least, MAX_ELEMENTS) if type(least) is int else 0)
        if type(least) is not int or type(most) is not int or not 0 <= least <= most:
            raise InvalidRequest(
                f"{where}.maxItems", f"minItems {least} and maxItems {most} leave no number of elements"
            )
        if most == 0:
            return '"[]"'
        element = self.value(schema.get("items"), f"{where}.items")
        several = f'{element} (", " {element}){{{max(least - 1, 0)},{most - 1}}}'
        return self._rule(f'"[" {several} "]"' if least else f'"[" ({several})? "]"')

    def _object(self, schema: dict[str, Any], where: str) -> str:
        """Keys in the schema's order; those that are not required may be left out."""
        properties = schema.get("properties")
        if not properties:
            raise InvalidRequest(f"{where}.properties", "is missing: there is nothing to extract")
        first = rest = '""'
        for key, inner in reversed(properties.items()):
            pair = f"{_literal(json.dumps(key, ensure_ascii=False) + ': ')} {self.value(inner, f'{where}.{key}')}"
            after = self._rule(rest)
            alone, next_one = f"{pair} {after}", f'", " {pair} {after}'
            if key in schema.get("required", ()):
                first, rest = alone, next_one
            else:
                first, rest = f"{alone} | {self._rule(first)}", f"{next_one} | {after}"
        return self._rule(f'"{{" ({first}) "}}"')

    def _referred(self, reference: str, where: str) -> str:
        if reference not in self.named:
            target = self.root
            for step in reference.removeprefix("#").split("/")[1:]:
                if not isinstance(target, dict) or step not in target:
                    raise InvalidRequest(f"{where}.$ref", f"{reference} is not in the schema")
                target = target[step]
            self.made += 1
            self.named[reference] = name = f"r{self.made}"
            self.rules.append(f"{name} ::= {self.value(target, reference)}")
        return self.named[reference]

    def _rule(self, expression: str) -> str:
        self.made += 1
        self.rules.append(f"r{self.made} ::= {expression}")
        return f"r{self.made}"


def _without(schema: Any, text: str) -> str:
    """The text with a line break in place of the schema."""
    at = text.find("{")
    while at >= 0:
        try:
            found, length = json.JSONDecoder().raw_decode(text[at:])
        except (ValueError, RecursionError):
            found, length = None, 1
        if found == schema:
            return f"{text[:at]}\n{text[at + length :]}"
        at = text.find("{", at + 1)
    return text


def _spans(text: str, words: list[re.Match[str]]) -> list[str]:
    """A string, and for each word of the text the runs that begin with it."""
    starts = " | ".join(f"w{index}" for index in range(len(words)))
    rules = [f'string ::= "\\"" ({starts})? "\\""' if words else 'string ::= "\\"\\""']
    for index, word in enumerate(words):
        more = ""
        if index + 1 < len(words):
            between = text[word.end() : words[index + 1].start()]
            gap = f"{_quoted(between)} " if between else ""
            more = f" ({gap}w{index + 1})?"
        rules.append(f"w{index} ::= {_quoted(word.group())}{more}")
    return rules


def _numbers(text: str) -> tuple[str, ...]:
    found = (match.group().replace(",", "") for match in _NUMBER.finditer(_COMPOUND.sub(" ", text)))
    # JSON has no leading zeros.
    return tuple(dict.fromkeys(number for number in found if not re.match(r"-?0\d", number)))


def _quoted(text: str) -> str:
    """Text inside a JSON string, as a literal of EBNF."""
    return _literal(json.dumps(text, ensure_ascii=False)[1:-1])


def _literal(text: str) -> str:
    # EBNF escapes as JSON does.
    return json.dumps(text, ensure_ascii=False)


def _any(expressions: list[str]) -> str:
    return f"({' | '.join(dict.fromkeys(expressions))})"

"""Ask for some of what a text states: a JSON Schema and the answer that follows it.

    stated fields -> keys, types, nesting -> (schema, answer)

Promise: the answer is valid against the schema, has its keys in the schema's order, and no
key could mean two of the stated fields.

The policy for what a text leaves out: a required key that may be null is null; a key that
is not required is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from expert_system.training.families import Family, Field, Kind
from expert_system.training.values import Json, Stated, number

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

AS_TEXT_SHARE = 0.12
"""How often a number is asked for as a string."""
NULLABLE_SHARE = 0.12
OPTIONAL_SHARE = 0.18
WRAPPED_SHARE = 0.05
CLOSED_SHARE = 0.12
"""How often a schema forbids additional properties."""
UNSTATED_SHARE = 0.5
"""How often a schema with nullable or optional keys asks for something that the text does not state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A JSON Schema and the answer for one text."""

    schema: dict[str, Any]
    answer: dict[str, Json]


def ask(family: Family, stated: tuple[Stated, ...], count: int, rng: Random) -> Asked:
    """Write a schema over `count` or fewer of the stated fields.

    Args:
        family: where the fields come from; it says which of them may be nested.
        stated: what the text says.
        count: fields to ask for.
        rng: decides everything else.
    """
    style = rng.choices(_STYLES, weights=_STYLE_WEIGHTS)[0]
    wanted = rng.sample(stated, min(count, len(stated)))
    if rng.random() < 0.3:
        wanted.sort(key=stated.index)
    properties: dict[str, Any] = {}
    answer: dict[str, Json] = {}
    nested = _nest(family, wanted, style, rng)
    for entry in wanted:
        if entry.field.name in nested:
            key: str | None
            key, schema, value = nested[entry.field.name]
        else:
            key = _key(entry.field, stated, style, rng)
            schema, value = _typed(entry, style, rng)
        if key is not None and key not in properties:
            properties[key], answer[key] = schema, value
    required = list(properties)
    chance = rng.random()
    if chance < NULLABLE_SHARE:
        _allow_null(properties, answer, required, family, stated, style, rng)
    elif chance < NULLABLE_SHARE + OPTIONAL_SHARE:
        required = _make_optional(properties, required, family, stated, style, rng)
    schema = _object(properties, required, closed=rng.random() < CLOSED_SHARE)
    if rng.random() < WRAPPED_SHARE:
        wrapper = style(family.name)
        return Asked(schema=_object({wrapper: schema}, [wrapper]), answer={wrapper: answer})
    return Asked(schema=schema, answer=answer)


def _object(properties: dict[str, Any], required: list[str], *, closed: bool = False) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    if closed:
        schema["additionalProperties"] = False
    return schema


def _nest(
    family: Family, wanted: list[Stated], style: Callable[[str], str], rng: Random
) -> dict[str, tuple[str, dict[str, Any], Json]]:
    """Choose groups; every field of a chosen group maps to the group's key, schema and value."""
    nested: dict[str, tuple[str, dict[str, Any], Json]] = {}
    for group in family.groups:
        keys = dict(group.inner_keys)
        inside = [entry for entry in wanted if entry.field.name in keys and entry.field.name not in nested]
        if not inside or rng.random() > family.group_share:
            continue
        properties: dict[str, Any] = {}
        answer: dict[str, Json] = {}
        for entry in inside:
            key = style(rng.choice(keys[entry.field.name]))
            if key not in properties:
                properties[key], answer[key] = _typed(entry, style, rng)
        outer = style(rng.choice(group.keys))
        for entry in inside:
            nested[entry.field.name] = (outer, _object(properties, list(properties)), answer)
    return nested


def _key(field: Field, stated: tuple[Stated, ...], style: Callable[[str], str], rng: Random) -> str | None:
    """A key of this field that no other stated field could be meant by."""
    others = {key for entry in stated if entry.field is not field for key in entry.field.keys}
    free = [key for key in field.keys if key not in others]
    return style(rng.choice(free)) if free else None


def _typed(entry: Stated, style: Callable[[str], str], rng: Random) -> tuple[dict[str, Any], Json]:
    """The schema of one field and its value under it."""
    match entry.field.kind:
        case Kind.FLAG:
            return {"type": "boolean"}, entry.truth
        case Kind.ENUM if rng.random() < 0.75:
            return _enum(entry, rng)
        case Kind.LIST:
            if entry.field.element is Kind.TEXT:
                return {"type": "array", "items": {"type": "string"}}, list(entry.elements)
            values: list[Json] = [number(element) for element in entry.elements]
            return {"type": "array", "items": {"type": entry.field.element.value}}, values
        case Kind.ITEMS:
            return _items(entry, style, rng)
        case Kind.INTEGER | Kind.NUMBER if rng.random() > AS_TEXT_SHARE:
            kind = "number" if entry.field.kind is Kind.NUMBER or rng.random() < 0.1 else "integer"
            return {"type": kind}, number(entry.text)
        case _:
            return {"type": "string"}, entry.text


def _enum(entry: Stated, rng: Random) -> tuple[dict[str, Any], Json]:
    words = list(entry.field.values)
    truth = next(word for word in words if word.lower() == entry.text.lower())
    others = [word for word in words if word != truth]
    chosen = [truth, *rng.sample(others, rng.randint(1, len(others)))]
    rng.shuffle(chosen)
    change = rng.choices((str, str.upper, str.capitalize, _snake), weights=(70, 10, 10, 10))[0]
    schema: dict[str, Any] = {"type": "string"} if rng.random() < 0.8 else {}
    return schema | {"enum": [change(word) for word in chosen]}, change(truth)


def _items(entry: Stated, style: Callable[[str], str], rng: Random) -> tuple[dict[str, Any], Json]:
    parts = list(entry.field.parts)
    if rng.random() < 0.5:
        rng.shuffle(parts)
    properties: dict[str, Any] = {}
    rows: list[dict[str, Json]] = [{} for _ in entry.rows]
    for part in parts:
        key = style(rng.choice(part.keys))
        if key in properties:
            continue
        properties[key] = {"type": "string" if part.kind is Kind.TEXT else part.kind.value}
        for row, stated in zip(rows, entry.rows, strict=True):
            text = next(cell.text for cell in stated if cell.field is part)
            row[key] = text if part.kind is Kind.TEXT else number(text)
    return {"type": "array", "items": _object(properties, list(properties))}, list(rows)


def _unstated(
    family: Family, stated: tuple[Stated, ...], style: Callable[[str], str], rng: Random
) -> tuple[str, dict[str, Any]] | None:
    """A plain field that the text says nothing about, or None."""
    said = {entry.field.name for entry in stated}
    plain = {Kind.TEXT: "string", Kind.INTEGER: "integer", Kind.NUMBER: "number"}
    left = [field for field in family.fields if field.name not in said and field.kind in plain]
    if not left or rng.random() > UNSTATED_SHARE:
        return None
    field = rng.choice(left)
    key = _key(field, stated, style, rng)
    return (key, {"type": plain[field.kind]}) if key is not None else None


def _insert(properties: dict[str, Any], key: str, schema: dict[str, Any], rng: Random) -> None:
    """Put a property at a random place, in the same dictionary."""
    entries = list(properties.items())
    entries.insert(rng.randint(0, len(entries)), (key, schema))
    properties.clear()
    properties.update(entries)


def _allow_null(
    properties: dict[str, Any],
    answer: dict[str, Json],
    required: list[str],
    family: Family,
    stated: tuple[Stated, ...],
    style: Callable[[str], str],
    rng: Random,
) -> None:
    """Let some keys be null; one of them may be unstated, and then it is null."""
    for schema in properties.values():
        if schema.get("type") in {"string", "integer", "number"} and "enum" not in schema and rng.random() < 0.4:
            schema["type"] = [schema["type"], "null"]
    missing = _unstated(family, stated, style, rng)
    if missing is not None and missing[0] not in properties:
        key, schema = missing
        _insert(properties, key, {"type": [schema["type"], "null"]}, rng)
        values = {**answer, key: None}
        answer.clear()
        answer.update({name: values[name] for name in properties})
        required[:] = list(properties)


def _make_optional(
    properties: dict[str, Any],
    required: list[str],
    family: Family,
    stated: tuple[Stated, ...],
    style: Callable[[str], str],
    rng: Random,
) -> list[str]:
    """Require only some keys; an unstated one is left out of the answer."""
    missing = _unstated(family, stated, style, rng)
    kept = [key for key in required if rng.random() < 0.6]
    if missing is not None and missing[0] not in properties:
        _insert(properties, *missing, rng)
    return kept


def _snake(key: str) -> str:
    return key.replace(" ", "_")


def _camel(key: str) -> str:
    head, *tail = key.split("_")
    return head + "".join(word.capitalize() for word in tail)


def _words(key: str) -> str:
    return key.replace("_", " ").capitalize()


def _kebab(key: str) -> str:
    return key.replace("_", "-")


def _pascal(key: str) -> str:
    return "".join(word.capitalize() for word in key.split("_"))


_STYLES: tuple[Callable[[str], str], ...] = (str, _camel, _words, _kebab, _pascal)
_STYLE_WEIGHTS = (60, 24, 6, 4, 6)

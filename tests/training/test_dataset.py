"""The data set of expert-json-parser: repeatable, right, and nothing of the test part in training."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random

import jsonschema
import pytest

from expert_system.training.cases import case_of
from expert_system.training.checkers import check
from expert_system.training.dataset import TEST, TRAIN, VALIDATION, Part, generate
from expert_system.training.examples import write_example
from expert_system.training.families import Kind
from expert_system.training.grammar import HELD_OUT_POOL, Grammar
from expert_system.training.recipe import Recipe
from expert_system.training.split import Asks, Split


def keys(split: Split) -> set[str]:
    """Every key that a schema of this split can have, before its casing."""
    found: set[str] = set()
    for family in split.families:
        for field in family.fields:
            found |= {*field.keys, *(key for part in field.parts for key in part.keys)}
        for group in family.groups:
            found |= {*group.keys, *(key for _, inner in group.inner_keys for key in inner)}
    return found | set(split.composed.keys() if split.composed else ())


def wordings(split: Split) -> set[str]:
    """Every sentence, line style and request that a text of this split can be made of; the contract aside."""
    found = {*split.instructions[1:], *split.say, *split.noise, *(style.line + style.join for style in split.lines)}
    for family in split.families:
        found |= set(family.leads)
        for field in family.fields:
            found |= {*field.say, *field.yes, *field.no, *field.each}
    for head in split.composed.heads if split.composed else ():
        found |= {*head.clauses, *head.field.say, *head.field.yes, *head.field.no, *head.field.each}
    for pair in split.composed.pairs if split.composed else ():
        found |= set(pair.say)
    return found


def enums(split: Split) -> set[frozenset[str]]:
    fields = [field for family in split.families for field in family.fields]
    fields += [head.field for head in split.composed.heads] if split.composed else []
    return {frozenset(field.values) for field in fields if field.kind is Kind.ENUM}


def test_the_same_recipe_gives_the_same_bytes(recipe: Recipe, parts: dict[str, Part], expert_folder: Path) -> None:
    """design: a data set is named by its sha256, so generating it again must not change a byte."""
    again = generate(recipe.dataset, expert_folder)

    assert {name: part.sha256 for name, part in parts.items()} == {name: part.sha256 for name, part in again.items()}


def test_another_seed_gives_other_examples(recipe: Recipe, parts: dict[str, Part], expert_folder: Path) -> None:
    """The seed of the recipe is what decides."""
    other = generate(recipe.dataset.model_copy(update={"seed": recipe.dataset.seed + 1}), expert_folder)

    assert set() == {example.prompt for example in other[TEST].examples} & {
        example.prompt for example in parts[TEST].examples
    }


@pytest.mark.parametrize("name", [TRAIN, VALIDATION, TEST])
def test_every_answer_is_valid_and_exact(parts: dict[str, Part], name: str) -> None:
    """A label that its own checker refuses would teach the expert to fail."""
    wrong = [
        example.answer
        for example in parts[name].examples
        if not check("json_schema", case_of(example), example.answer).right
    ]

    assert [] == wrong


def test_every_schema_is_a_schema(parts: dict[str, Part]) -> None:
    """What the expert is asked with is real JSON Schema."""
    for example in parts[TEST].examples:
        jsonschema.Draft202012Validator.check_schema(dict(example.schema or {}))


def test_every_text_of_an_answer_stands_in_the_prompt(parts: dict[str, Part]) -> None:
    """Values are copied to the letter; only the words of an enum may change their case or underscores."""

    def texts(value: object) -> list[str]:
        if isinstance(value, dict):
            return [text for entry in value.values() for text in texts(entry)]
        if isinstance(value, list):
            return [text for entry in value for text in texts(entry)]
        return [value] if isinstance(value, str) else []

    missing = [
        (text, example.prompt)
        for example in parts[TEST].examples
        for text in texts(json.loads(example.answer))
        if text not in example.prompt
    ]

    assert [] == missing


def test_keys_stand_in_the_order_of_the_schema(parts: dict[str, Part]) -> None:
    """README: keys come in the schema's order."""
    for example in parts[TEST].examples:
        answered = list(json.loads(example.answer))
        assert [key for key in (example.schema or {})["properties"] if key in answered] == answered


@pytest.mark.parametrize(("one", "other"), [(TEST, TRAIN), (TEST, VALIDATION), (VALIDATION, TRAIN)])
def test_parts_share_nothing_but_the_contract(splits: dict[str, Split], one: str, other: str) -> None:
    """Held out means other families, wordings, keys and enums; only the contract's own wording is shared."""
    assert set() == keys(splits[one]) & keys(splits[other])
    assert set() == wordings(splits[one]) & wordings(splits[other])
    assert set() == enums(splits[one]) & enums(splits[other])
    assert set() == {family.name for family in splits[one].families} & {
        family.name for family in splits[other].families
    }


def test_no_schema_of_the_test_part_was_trained_on(parts: dict[str, Part]) -> None:
    """Split by schema: not one set of top-level keys occurs in both parts."""

    def key_sets(part: Part) -> set[frozenset[str]]:
        return {frozenset((example.schema or {})["properties"]) for example in part.examples}

    assert set() == key_sets(parts[TEST]) & key_sets(parts[TRAIN])


def test_long_pools_are_cut_in_two(pools: dict[str, list[str]]) -> None:
    """Names and products of the test part were never seen in training."""
    seen, held_out = Grammar(pools=pools), Grammar(pools=pools, held_out=True)
    long = [name for name, entries in pools.items() if len(entries) >= HELD_OUT_POOL]

    assert long
    assert all(set() == set(seen.pool(name)) & set(held_out.pool(name)) for name in long)


def test_the_own_pools_of_training_hold_nothing_held_out(pools: dict[str, list[str]], splits: dict[str, Split]) -> None:
    """Training draws from wider pools of its own; what the long shared pools hold out stays out of them."""
    own, held_out = splits[TRAIN].pools, Grammar(pools=pools, held_out=True)
    long = [name for name in own if len(pools.get(name, ())) >= HELD_OUT_POOL]

    assert long
    assert all(set() == set(own[name]) & set(held_out.pool(name)) for name in long)
    assert {} == splits[TEST].pools == splits[VALIDATION].pools


def test_each_part_keeps_its_own_limits(parts: dict[str, Part], splits: dict[str, Split]) -> None:
    """Training asks for more at once than the held-out parts, whose limits are the ones they always had."""
    for name, part in parts.items():
        asks = splits[name].asks

        assert all(len(row.prompt) <= asks.prompt_chars for row in part.examples)
        assert all(len(row.answer) <= asks.answer_chars for row in part.examples)
    assert splits[TEST].asks == splits[VALIDATION].asks == Asks()
    assert splits[TRAIN].asks.prompt_chars > Asks().prompt_chars


def test_training_has_the_contract_and_at_least_ten_paraphrases(
    parts: dict[str, Part], splits: dict[str, Split]
) -> None:
    """The contract of the README is trained, and so are other ways to ask."""
    contract = "Extract the data as JSON matching this schema.\nSchema: {schema}\nText: {text}"
    used = {example.provenance["wording"] for example in parts[TRAIN].examples}

    assert {contract} == {split.instructions[0] for split in splits.values()}
    assert 11 <= len(used)


def test_a_number_keeps_its_digits(splits: dict[str, Split], pools: dict[str, list[str]]) -> None:
    """README: numbers are written as in the text, thousands commas dropped, so 149.50 stays 149.50."""
    rng = Random(1)
    answers = [
        write_example(splits[TRAIN], Grammar(pools=pools, own=splits[TRAIN].pools), 1.0, rng).answer for _ in range(300)
    ]

    assert any(re.search(r": \d+\.\d0[,}]", answer) for answer in answers)
    assert not any(re.search(r": \d{1,3},\d{3}[.,}]", answer) for answer in answers)


def test_a_pattern_that_refers_to_itself_is_refused() -> None:
    """A pool without an end is an error, not a hang."""
    with pytest.raises(ValueError, match="refers to itself"):
        Grammar(pools={"loop": ["{loop}"]}).expand("{loop}", Random(0))

"""What holds for the data set of every official expert that a program writes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pydantic
import pytest

from expert_system.training.cases import CASES_FILE, case_of, read_cases
from expert_system.training.dataset import TEST, TRAIN, VALIDATION, Part, generate
from expert_system.training.programs.sources import with_article
from expert_system.training.recipe import Recipe, read_recipe

OFFICIAL = ("expert-english-basic", "expert-sql", "expert-cypher", "expert-retail", "expert-classifier")
FEW = 150

Parts = Callable[[str], Mapping[str, Part]]
Sources = Callable[[str], Mapping[str, Any]]
Recipes = Callable[[str], Recipe]


def shortened(recipe: Recipe, seed: int, validation: int) -> Any:
    """The data section with few rows to train on."""
    section: Any = recipe.dataset
    train = section.train.model_copy(update={"count": FEW})
    kept = section.validation.model_copy(update={"count": validation})
    return section.model_copy(update={"seed": seed, "train": train, "validation": kept})


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_same_recipe_gives_the_same_bytes(name: str, recipe_of: Recipes, parts_of: Parts, experts: Path) -> None:
    """design: a data set is named by its sha256, so writing it again must not change a byte."""
    section: Any = recipe_of(name).dataset

    again = generate(shortened(recipe_of(name), section.seed, section.validation.count), experts / name)

    assert parts_of(name)[TRAIN].examples[:FEW] == again[TRAIN].examples
    assert [parts_of(name)[part].sha256 for part in (VALIDATION, TEST)] == [
        again[part].sha256 for part in (VALIDATION, TEST)
    ]


@pytest.mark.parametrize("name", OFFICIAL)
def test_another_seed_gives_other_rows(name: str, recipe_of: Recipes, parts_of: Parts, experts: Path) -> None:
    """The seed of the recipe is what decides."""
    section: Any = recipe_of(name).dataset

    other = generate(shortened(recipe_of(name), section.seed + 1, section.validation.count), experts / name)

    assert parts_of(name)[TRAIN].examples[:FEW] != other[TRAIN].examples
    assert parts_of(name)[TEST].sha256 != other[TEST].sha256


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_contract_of_the_readme_is_trained_with_ten_paraphrases(
    name: str, parts_of: Parts, sources_of: Sources, experts: Path
) -> None:
    """Issue A7: the prompt contract stands in the README, with at least ten paraphrases in training."""
    readme = (experts / name / "README.md").read_text(encoding="utf-8")
    contract = re.search(r"## Contract\n.*?```\n(.*?)\n```", readme, re.DOTALL)
    used = {row.provenance["wording"] for row in parts_of(name)[TRAIN].examples}

    assert contract is not None
    assert {contract[1]} == {source["instructions"][0] for source in sources_of(name).values()}
    assert 11 <= len(used)


@pytest.mark.parametrize("name", OFFICIAL)
def test_parts_share_no_wording_of_the_request_but_the_contract(name: str, sources_of: Sources) -> None:
    """Held out means other paraphrases; the test part asks by the contract alone."""
    train, validation, test = (set(sources_of(name)[part]["instructions"][1:]) for part in (TRAIN, VALIDATION, TEST))

    assert set() == train & validation
    assert set() == test


@pytest.mark.parametrize("name", OFFICIAL)
def test_there_are_enough_held_out_rows_and_none_twice(name: str, parts_of: Parts) -> None:
    """Issue A7: at least 200 held-out cases; a row that came twice would be counted twice."""
    prompts = [row.prompt for part in parts_of(name).values() for row in part.examples]

    assert 300 == len(parts_of(name)[TEST].examples)
    assert 48 == len(parts_of(name)[VALIDATION].examples)
    assert len(prompts) == len(set(prompts))


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_committed_cases_are_the_test_part(name: str, parts_of: Parts, experts: Path) -> None:
    """Who has the package but not the program measures the same."""
    written = tuple(case_of(row) for row in parts_of(name)[TEST].examples)

    assert written == read_cases(experts / name / CASES_FILE).cases


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_recipe_for_the_larger_base_has_the_same_data(name: str, recipe_of: Recipes, experts: Path) -> None:
    """README: the same data, for Qwen3-0.6B on a GPU."""
    larger = read_recipe(experts / name / "recipe.qwen3-0.6b.json")

    assert recipe_of(name).dataset == larger.dataset
    assert "qwen3-0.6b" == larger.training.base


def test_an_unknown_option_is_refused(recipe_of: Recipes, experts: Path) -> None:
    """A recipe that is read is a recipe that is obeyed."""
    section: Any = recipe_of("expert-retail").dataset
    wrong = section.model_copy(update={"options": {**section.options, "colour": "red"}})

    with pytest.raises(pydantic.ValidationError, match="colour"):
        generate(wrong, experts / "expert-retail")


def test_an_article_fits_the_word_behind_it() -> None:
    """Wordings say {a}; the word that fills the slot behind it decides, and a value "A" is no article."""
    assert "an age, a name, group A is" == with_article("{a} age, {a} name, group A is")

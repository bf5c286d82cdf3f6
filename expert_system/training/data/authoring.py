"""What to ask a provider for, and the rows in its answers.

    recipe -> topics of each part -> request N of a part -> Ask;   answer -> rows

Promise: request N of a part is the same on every run, so a paid answer is found again; a topic is in one part only.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, Any

import jsonschema

from expert_system.training.data.parts import PARTS, TEST, TRAIN, VALIDATION
from expert_system.training.data.row import Row
from expert_system.training.families import SLOT
from expert_system.training.providers.interface import Ask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from expert_system.training.provider_recipe import ProviderRecipe
    from expert_system.training.providers.journal import Paid

MAX_SEED = 2**31 - 1
ROWS = "rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One request, and what its rows are about."""

    part: str
    number: int
    topic: str
    difficulty: str
    ask: Ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What an answer held."""

    rows: tuple[Row, ...]
    problems: tuple[str, ...]
    """Why the answer, or some of its rows, cannot be used."""


class Author:
    """Everything that follows from a provider's section of a recipe."""

    def __init__(self, recipe: ProviderRecipe, *, sends_seed: bool) -> None:
        self.recipe = recipe
        self._sends_seed = sends_seed

    @cached_property
    def topics(self) -> Mapping[str, tuple[str, ...]]:
        """The topics of each part, in proportion to its rows and at least one."""
        recipe = self.recipe
        order = list(recipe.topics)
        Random(f"{recipe.seed}/topics").shuffle(order)
        total = sum(getattr(recipe, part).count for part in PARTS)
        shares = {
            part: max(1, math.floor(len(order) * getattr(recipe, part).count / total)) for part in (VALIDATION, TEST)
        }
        # Where there are few topics, the held-out parts take one each and training keeps the others.
        while sum(shares.values()) >= len(order):
            largest = max(shares, key=lambda part: shares[part])
            shares[largest] -= 1
        first = shares[VALIDATION]
        second = first + shares[TEST]
        return {TRAIN: tuple(order[second:]), VALIDATION: tuple(order[:first]), TEST: tuple(order[first:second])}

    @cached_property
    def schema(self) -> dict[str, Any]:
        """JSON Schema of one answer."""
        fields = {
            name: {"type": "string", "description": told} if isinstance(told, str) else told
            for name, told in self.recipe.fields.items()
        }
        return _closed({ROWS: {"type": "array", "items": _closed(fields)}})

    def wanted(self, part: str) -> int:
        """Requests that fill a part when every row is kept."""
        return math.ceil(int(getattr(self.recipe, part).count) / self.recipe.rows_per_request)

    def most(self, part: str) -> int:
        """Requests that a part may take."""
        return math.ceil(self.wanted(part) * (1 + self.recipe.spare))

    def assignment(self, part: str, number: int) -> Assignment:
        """Request number N of a part: topics in turn, difficulties by their shares."""
        recipe = self.recipe
        topic = self.topics[part][number % len(self.topics[part])]
        # By turns through all topics, so that no topic is always asked for the same difficulty.
        difficulty = _by_share(recipe.difficulties, Random(f"{recipe.seed}/{part}/{number}/difficulty"))
        words = {"count": str(recipe.rows_per_request), "topic": topic, "difficulty": difficulty}
        ask = Ask(
            provider=recipe.generator,
            model=recipe.model,
            system=recipe.system,
            user=SLOT.sub(lambda match: words.get(match.group(1), match.group(0)), recipe.request),
            schema=self.schema,
            temperature=recipe.temperature,
            max_output_tokens=recipe.max_output_tokens,
            seed=Random(f"{recipe.seed}/{part}/{number}").randint(0, MAX_SEED),
        )
        return Assignment(part=part, number=number, topic=topic, difficulty=difficulty, ask=ask)

    def read(self, assignment: Assignment, paid: Paid) -> Written:
        """The rows of an answer; what is no row is a problem, never a guess."""
        if paid.reply.finish != "stop":
            return Written(rows=(), problems=(f"the answer ended early: {paid.reply.finish}",))
        try:
            answer = json.loads(paid.reply.text)
        except (ValueError, RecursionError):
            return Written(rows=(), problems=("the answer is not JSON",))
        items = answer.get(ROWS) if isinstance(answer, dict) else None
        if not isinstance(items, list):
            return Written(rows=(), problems=("the answer holds no rows",))
        judge = jsonschema.Draft202012Validator(self.schema["properties"][ROWS]["items"])
        good = [(place, item) for place, item in enumerate(items) if judge.is_valid(item)]
        rows = [self._row(assignment, paid, place, item, len(items)) for place, item in good]
        return Written(rows=tuple(rows), problems=("a row lacks what was asked for",) * (len(items) - len(good)))

    def _row(self, assignment: Assignment, paid: Paid, place: int, item: dict[str, Any], of: int) -> Row:
        recipe = self.recipe
        rng = Random(f"{recipe.seed}/{assignment.part}/{assignment.number}/{place}")
        others = len(recipe.prompts) - 1
        wording = 0 if others == 0 or rng.random() < recipe.contract_share else rng.randint(1, others)
        asked = dict.fromkeys(name for prompt in recipe.prompts for name in SLOT.findall(prompt))
        tags = [f"topic:{assignment.topic}", f"wording:{'paraphrase' if wording else 'contract'}"]
        provenance: dict[str, Any] = {
            "provider": recipe.generator,
            "model": paid.reply.model,
            "prompt_sha256": assignment.ask.prompt_sha256,
            "answered_at": paid.answered_at,
            "cost": round(paid.cost / of, 8),
        }
        if self._sends_seed:
            provenance["seed"] = assignment.ask.seed
        return Row(
            messages=({"role": "user", "content": _filled(recipe.prompts[wording], item)},),
            answer=_filled(recipe.answer, item),
            template=assignment.topic,
            tags=(*tags, *([f"difficulty:{assignment.difficulty}"] if assignment.difficulty else [])),
            schema=recipe.answer_schema,
            check=filled_all(recipe.check, item) if recipe.check is not None else None,
            content="\n".join(_text(item[name]) for name in asked),
            rejected=_filled(recipe.rejected, item) if recipe.rejected is not None else None,
            provenance=provenance,
        )


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    """An object with exactly these keys, as strict structured outputs want it."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _by_share(shares: Mapping[str, float], rng: Random) -> str:
    return rng.choices(list(shares), weights=list(shares.values()))[0] if shares else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _filled(text: str, item: Mapping[str, Any]) -> str:
    """Put a row's fields into the slots of a text."""
    return SLOT.sub(lambda match: _text(item[match.group(1)]) if match.group(1) in item else match.group(0), text)


def filled_all(value: Any, item: Mapping[str, Any]) -> Any:
    """Fill every text in a JSON value; a text that is one slot and nothing else becomes the field itself."""
    match value:
        case str():
            whole = SLOT.fullmatch(value)
            return item[whole.group(1)] if whole and whole.group(1) in item else _filled(value, item)
        case dict():
            return {key: filled_all(inner, item) for key, inner in value.items()}
        case list():
            return [filled_all(inner, item) for inner in value]
        case _:
            return value

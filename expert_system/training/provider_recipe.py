"""What a recipe tells a provider: what to write, about what, how hard, how many, and at what price.

    recipe.json "dataset" with generator deepseek | openai | anthropic | local -> ProviderRecipe

Promise: a text that names an unknown slot, a paid provider without price or limit, and an address or a key in a recipe
are refused before anything is asked.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, JsonValue, field_serializer, model_validator

from expert_system.package.fields import RelativePath
from expert_system.training.families import SLOT
from expert_system.training.recipe_fields import NEAR_DUPLICATE_COSINE, PARTS_FOLDER, Strict

if TYPE_CHECKING:
    from collections.abc import Iterator

PAID_PROVIDERS = ("deepseek", "openai", "anthropic")
REQUEST_SLOTS = frozenset({"count", "topic", "difficulty"})
PARTS_COUNT = 3


class Price(Strict):
    """What the provider charges, as its price list said on a day; the author looks it up."""

    input_per_million: float = Field(ge=0)
    output_per_million: float = Field(ge=0)
    currency: str = Field(min_length=1, max_length=8)
    as_of: date
    source: str = Field(min_length=1)
    """Where the price was read."""

    @field_serializer("as_of")
    def _written(self, value: date) -> str:
        return value.isoformat()


class Limits(Strict):
    """How fast and for how much."""

    requests_per_minute: int | None = Field(default=None, gt=0)
    tokens_per_minute: int | None = Field(default=None, gt=0)
    concurrent: int = Field(default=4, gt=0, le=256)
    """Requests under way at once."""
    tries: int = Field(default=6, gt=0, le=100)
    """How often one request is sent before the run gives up."""
    cost: float | None = Field(default=None, gt=0)
    """In the price's currency, for the whole data set."""


class AuthoredPart(Strict):
    """One part of a data set that a provider writes."""

    count: int = Field(gt=0)


class ProviderRecipe(Strict):
    """Rows that a model writes, topic by topic; each topic belongs to one part."""

    generator: Literal["deepseek", "openai", "anthropic", "local"]
    model: str = Field(min_length=1)
    """As the provider names it; for "local" the base that is served, or an expert `NAME[@VERSION]` on it."""
    seed: int
    system: str
    """Who the model is and what good rows look like."""
    request: str
    """What it is asked; {count}, {topic} and {difficulty} are filled in."""
    topics: tuple[str, ...] = Field(min_length=PARTS_COUNT)
    difficulties: dict[str, float] = Field(default_factory=dict)
    """Name to share; empty when all rows are alike."""
    fields: dict[str, str | dict[str, JsonValue]]
    """What one row is made of: a name and a description of a text, or a name and a JSON Schema."""
    prompts: tuple[str, ...] = Field(min_length=1)
    """Wordings of the prompt over the fields; the first is the contract."""
    contract_share: float = Field(default=0.5, ge=0, le=1)
    answer: str
    """The right answer, over the fields."""
    rejected: str | None = None
    """A worse answer, over the fields; makes preference pairs."""
    answer_schema: dict[str, JsonValue] | None = None
    """JSON Schema that every answer is valid against."""
    check: dict[str, JsonValue] | None = None
    """How answers are executed: {"kind": ...} and, over the fields, what that check needs."""
    rows_per_request: int = Field(default=5, gt=0, le=50)
    spare: float = Field(default=0.5, ge=0, le=10)
    """Share of requests that may be sent above what the counts need, to make up for rows that are sifted out."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """None leaves it to the provider; some models take none."""
    max_output_tokens: int = Field(gt=0)
    price: Price | None = None
    limits: Limits = Limits()
    near_duplicate_cosine: float | None = Field(default=NEAR_DUPLICATE_COSINE, gt=0, le=1)
    parts: RelativePath = PARTS_FOLDER
    train: AuthoredPart
    validation: AuthoredPart
    test: AuthoredPart

    @model_validator(mode="after")
    def _costs_are_known(self) -> Self:
        if self.generator in PAID_PROVIDERS and (self.price is None or self.limits.cost is None):
            raise ValueError(
                f"{self.generator} costs money: give its `price` (as its price list says) and `limits.cost`"
            )
        return self

    @model_validator(mode="after")
    def _topics_and_shares_make_sense(self) -> Self:
        if len(set(self.topics)) < len(self.topics):
            raise ValueError("topics: one stands there twice; it would be in two parts")
        if any(share <= 0 for share in self.difficulties.values()):
            raise ValueError("difficulties: every share must be above 0")
        return self

    @model_validator(mode="after")
    def _slots_are_known(self) -> Self:
        fields = frozenset(self.fields)
        if not fields:
            raise ValueError("fields: name at least one")
        over_fields = [*self.prompts, self.answer, self.rejected or "", *texts_of(self.check)]
        for text, known in [(self.request, REQUEST_SLOTS), *((text, fields) for text in over_fields)]:
            unknown = sorted(set(SLOT.findall(text)) - known)
            if unknown:
                raise ValueError(f"{text!r} names {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        return self


def texts_of(value: Any) -> Iterator[str]:
    """Every text in a JSON value, keys aside."""
    match value:
        case str():
            yield value
        case dict():
            for inner in value.values():
                yield from texts_of(inner)
        case list():
            for inner in value:
                yield from texts_of(inner)

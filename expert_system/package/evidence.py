"""How an expert was made and what was measured of it (formats.md 1.8, 1.9)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from expert_system.package.binding import Quantization
from expert_system.package.fields import MAX_LIST, Part, RelativePath, Sha256, Text, Timestamp, Word

EVALUATION_FILE = "evaluation.json"
"""The whole report, of which `quality_metrics` holds the figures."""
MAX_EVALUATION_BYTES = 16 * 1024 * 1024

Scalar = Annotated[str | int | float | bool | None, Field()]
Count = Annotated[int, Field(ge=0)]


class Dataset(Part):
    """The training data: how to make it again, and what came out."""

    generator: Text
    """The script or service that made it, such as `expert_system.training.json_extraction`."""
    seed: int
    train_examples: Count
    validation_examples: Count = 0
    sha256: Sha256
    """Of the training file."""


class Training(Part):
    """One training run."""

    method: Literal["sft", "dpo"]
    dataset: Dataset
    hyperparameters: dict[Word, Scalar | tuple[Scalar, ...]]
    base_revision: Text
    """The base's own version: a hub commit, or the package it came from."""
    wall_time_s: Annotated[float, Field(ge=0.0)]
    software: dict[Word, Word]
    """Library to version."""


class Interval(Part):
    """A measured value and its 95% confidence interval."""

    value: float
    low: float
    high: float

    @model_validator(mode="after")
    def _value_lies_within(self) -> Self:
        if not self.low <= self.value <= self.high:
            raise ValueError("needs low <= value <= high")
        return self


class Measure(Part):
    """One measure on the held-out examples; higher is better."""

    name: Word
    base: Interval
    few_shot: Interval | None = None
    """The base with worked examples in its prompt."""
    expert: Interval
    expert_with_grammar: Interval | None = None
    """The expert held to the JSON Schema of each request by structured outputs."""
    gain: Interval
    """Expert minus base, over the same examples."""


class Evaluation(Part):
    """What was measured on one base; bound to the weights by their digests."""

    base: Word
    """A `base_models[].name`."""
    quantization: Quantization
    evaluated_at: Timestamp
    held_out_sha256: Sha256
    held_out_examples: Annotated[int, Field(ge=1)]
    adapters: dict[RelativePath, Sha256]
    """Each measured adapter_model.safetensors, by its path in the package."""
    primary: Word
    """The measure whose gain decides whether the expert is proven."""
    measures: Annotated[tuple[Measure, ...], Field(min_length=1, max_length=MAX_LIST)]

    @model_validator(mode="after")
    def _primary_is_measured(self) -> Self:
        names = [measure.name for measure in self.measures]
        if len(set(names)) != len(names):
            raise ValueError("two measures have the same name")
        if self.primary not in names:
            raise ValueError(f"primary {self.primary!r} is none of the measures {', '.join(names)}")
        return self

    @property
    def gain(self) -> Interval:
        """The gain of the primary measure."""
        return next(measure.gain for measure in self.measures if measure.name == self.primary)

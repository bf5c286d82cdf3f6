"""How well each expert fits a prompt: a logistic function of its features, with weights learned on the calibration split.

    features (n, k) -> score = 1 / (1 + exp(-(features . weights + bias) / temperature)) -> (n,) in 0 to 1

Promise: pure; a calibration made for other features than this code computes is refused, never misread.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from expert_system.errors import ConfigError
from expert_system.package.fields import Fraction, Part, Sha256
from expert_system.routing.features import FEATURES
from expert_system.routing.interface import Floats

CALIBRATION_FILE = "calibration.json"
MAX_CALIBRATION_BYTES = 1024 * 1024

Finite = Annotated[float, Field(ge=-1e6, le=1e6)]


class Calibration(Part):
    """`calibration.json` of a router model: what `expert-cli router calibrate` learned."""

    schema_version: Literal["1"] = "1"
    version: Annotated[str, Field(min_length=1, max_length=64)]
    """The router's version, the name of its folder."""
    encoder_digest: Sha256
    """The encoder whose readings it was learned on."""
    features: Annotated[tuple[str, ...], Field(min_length=1)]
    """Their names, in the order of the weights."""
    weights: tuple[Finite, ...]
    bias: Finite
    temperature: Annotated[float, Field(gt=0.0, le=100.0)] = 1.0
    """Divides the sum before the logistic function, so that a score is a probability."""
    threshold: Fraction
    """The router abstains when no expert scores as much."""
    second_threshold: Fraction
    """What a further expert must score to join the first."""
    languages: Annotated[tuple[str, ...], Field(min_length=1)] = ("en",)
    """ISO 639-1 codes that the encoder reads; in another language only what is named by exact words counts."""
    data_sha256: Sha256 | None = None
    """Of the data that it was learned on."""

    @model_validator(mode="after")
    def _one_weight_for_each_feature(self) -> Self:
        if len(self.features) != len(self.weights):
            raise ValueError(f"{len(self.features)} features but {len(self.weights)} weights")
        if self.second_threshold < self.threshold:
            raise ValueError("second_threshold is below threshold, so a further expert could join without a first")
        return self

    def require_features(self) -> None:
        """Hold its features against those that this code computes.

        Raises:
            ConfigError: they differ; the message names the first difference.
        """
        if self.features == FEATURES:
            return
        missing = [name for name in FEATURES if name not in self.features]
        unknown = [name for name in self.features if name not in FEATURES]
        problem = (
            f"it has no weight for {missing[0]!r}"
            if missing
            else f"it has a weight for {unknown[0]!r}, which this version does not compute"
            if unknown
            else "its features are in another order"
        )
        raise ConfigError(
            f"router calibration {self.version!r} was made for other features: {problem}; "
            "run `expert-cli router calibrate` or install the router model of this version"
        )


def scores(table: Floats, calibration: Calibration) -> Floats:
    """(n,) scores of (n, k) features; k and the order are `calibration.features`."""
    sums = table @ np.asarray(calibration.weights, dtype=np.float32) + np.float32(calibration.bias)
    return logistic(sums / np.float32(calibration.temperature))


def contributions(row: Floats, calibration: Calibration) -> dict[str, float]:
    """What each feature of one expert added to or took from its sum, the strongest first."""
    products = row * np.asarray(calibration.weights, dtype=np.float32)
    order = np.argsort(-np.abs(products), kind="stable")
    return {calibration.features[place]: float(products[place]) for place in order if products[place]}


def logistic(values: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    found: Any = 0.5 * (1.0 + np.tanh(0.5 * values))
    return np.asarray(found, dtype=np.float32)


def read_calibration(folder: Path) -> Calibration:
    """Read and check the calibration of a router model.

    Raises:
        ConfigError: missing, not a calibration, or made for other features.
    """
    file = folder / CALIBRATION_FILE
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_CALIBRATION_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}; is this a router model's folder?") from None
    try:
        found = Calibration.model_validate_json(data)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(step) for step in problem["loc"]) or "the file"
        raise ConfigError(f"{file}: {where}: {problem['msg']}") from None
    found.require_features()
    return found

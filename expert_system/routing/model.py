"""Where the router's model lies, and what loading it checks.

    router.models, else beside the package, else inside it -> vN/ -> Encoder + Calibration

Promise: a calibration that was not learned on this very encoder is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import expert_system
from expert_system.errors import ConfigError
from expert_system.routing.interface import Encoder
from expert_system.routing.score import CALIBRATION_FILE, Calibration, read_calibration

_PACKAGE = Path(expert_system.__file__).resolve().parent
PLACES = (_PACKAGE.parent / "router_models", _PACKAGE / "_router_models")
"""In a clone, then in an installed package."""

_VERSION = re.compile(r"v(\d{1,6})")


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterModel:
    """A loaded model."""

    encoder: Encoder
    calibration: Calibration


def find_model(models: Path | None) -> Path | None:
    """The folder of the newest router model: the highest vN that holds a calibration; None when there is none.

    Args:
        models: the setting `router.models`: a folder of versions, or one version's own; None looks in the usual places.

    Raises:
        ConfigError: the setting names a folder without a model.
    """
    for place in PLACES if models is None else (models.expanduser(),):
        if (place / CALIBRATION_FILE).is_file():
            return place
        versions = [
            (int(match[1]), folder)
            for folder in (place.iterdir() if place.is_dir() else ())
            if (match := _VERSION.fullmatch(folder.name)) and (folder / CALIBRATION_FILE).is_file()
        ]
        if versions:
            return max(versions)[1]
    if models is not None:
        raise ConfigError(f"router.models: {models} holds no router model (vN/{CALIBRATION_FILE}); see router_models/")
    return None


def load_model(folder: Path) -> RouterModel:
    """Load and check a model; under a second.

    Raises:
        ConfigError: a file is missing, damaged, or made for other features or another encoder.
    """
    from expert_system.routing.encoder import Encoder as OnnxEncoder

    calibration = read_calibration(folder)
    encoder = OnnxEncoder.load(folder)
    if calibration.encoder_digest != encoder.digest:
        raise ConfigError(
            f"{folder / CALIBRATION_FILE} was learned on encoder {calibration.encoder_digest[:12]}, but the folder holds "
            f"{encoder.digest[:12]}; run `expert-cli router calibrate` or restore the folder"
        )
    return RouterModel(encoder=encoder, calibration=calibration)

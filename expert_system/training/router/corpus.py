"""The router's written data: experts with their descriptors, and templates of prompts, parted into splits.

    data/*.json -> Corpus (experts, templates)

Promise: a template stands in one split only, and the prompts of an expert that is held out stand in no training split.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from expert_system.errors import ConfigError

DATA = Path(__file__).resolve().parent / "data"
FILES = ("official.json", "topics.json", "practice.json", "none.json", "wraps.json", "slots.json")


class Split(StrEnum):
    """What examples are for."""

    TRAIN = "train"
    CALIBRATION = "calibration"
    TEST = "test"


class Role(StrEnum):
    """When the encoder meets an expert for the first time."""

    OFFICIAL = "official"
    TRAIN = "train"
    PRACTICE = "practice"
    """Known to the encoder's training only: stands in no catalogue that anything is fitted or measured on."""
    CALIBRATION = "calibration"
    """Held out of training; known while weights and threshold are fitted."""
    TEST = "test"
    """Held out of everything but the test: an expert added later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expert:
    """What the router knows of one expert, in a manifest's words."""

    name: str
    role: Role
    category: str
    capabilities: tuple[str, ...]
    description: str
    examples: tuple[str, ...]
    keywords: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A prompt with gaps; `{slot}` is filled by one of the slot's values."""

    text: str
    split: Split
    experts: tuple[str, ...]
    """Who is right for it; empty when none is needed."""
    language: str
    family: str
    """For reports: the expert's name, or the kind of prompt that needs none."""
    task: str
    """Label of the task head where no expert is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """All that is written by hand."""

    experts: Mapping[str, Expert]
    templates: tuple[Template, ...]
    wraps: Mapping[str, Mapping[str, tuple[str, ...]]]
    """Kind of paraphrase -> split -> frames with `{}`, or fillers."""
    slots: Mapping[str, tuple[str, ...]]
    sha256: str
    """Over the files."""


def read_corpus(folder: Path = DATA) -> Corpus:
    """Read and check the data.

    Raises:
        ConfigError: a file is missing or malformed, or a template stands in two splits.
    """
    content: dict[str, Any] = {}
    digest = hashlib.sha256()
    for name in FILES:
        try:
            data = (folder / name).read_bytes()
            content[name] = json.loads(data)
        except OSError as error:
            raise ConfigError(f"{folder / name}: cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise ConfigError(f"{folder / name}: not JSON: {error}") from None
        digest.update(data)
    official, none = content["official.json"], content["none.json"]
    alone = (*official["experts"], *content["topics.json"]["experts"], *content["practice.json"]["experts"])
    experts = {entry["name"]: _expert(entry) for entry in alone}
    templates = [
        *(found for entry in alone for found in _templates(entry, [entry["name"]])),
        *(found for entry in official["combined"] for found in _templates(entry, entry["experts"])),
        *(found for entry in official["languages"] for found in _templates(entry, entry["experts"])),
        *(found for entry in (*none["families"], *none["languages"]) for found in _templates(entry, [])),
    ]
    _require_apart(templates)
    return Corpus(
        experts=experts,
        templates=tuple(templates),
        wraps={
            kind: {split: tuple(frames) for split, frames in parts.items()}
            for kind, parts in content["wraps.json"].items()
        },
        slots={name: tuple(values) for name, values in content["slots.json"].items()},
        sha256=digest.hexdigest(),
    )


def _expert(entry: Mapping[str, Any]) -> Expert:
    return Expert(
        name=entry["name"],
        role=Role(entry.get("role", Role.OFFICIAL)),
        category=entry["category"],
        capabilities=tuple(entry["capabilities"]),
        description=entry["description"],
        examples=tuple(entry["examples"]),
        keywords=tuple(entry["keywords"]),
    )


def _templates(entry: Mapping[str, Any], experts: list[str]) -> list[Template]:
    language = entry.get("language", "en")
    family = "+".join(experts) or entry.get("name", f"chat in {language}")
    return [
        Template(
            text=text,
            split=Split(split),
            experts=tuple(experts),
            language=language,
            family=family,
            task=entry.get("task", "none"),
        )
        for split, texts in entry["prompts"].items()
        for text in texts
    ]


def _require_apart(templates: list[Template]) -> None:
    splits: dict[str, Split] = {}
    for template in templates:
        key = " ".join(template.text.lower().split())
        if splits.setdefault(key, template.split) != template.split:
            raise ConfigError(f"the template {template.text!r} stands in {splits[key]} and in {template.split}")

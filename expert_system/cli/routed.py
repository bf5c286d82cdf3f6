"""Joins the router and its training, which do not know each other: what the one computes, the other fits and measures.

examples -> routing (read, encode, features, decide) -> cases to fit, outcomes to measure
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from expert_system.domain import Digest
from expert_system.package.manifest import Manifest, dump_manifest, read_manifest
from expert_system.routing.catalog import Catalogue, Entry
from expert_system.routing.compatible import Rules
from expert_system.routing.descriptors import Kept, embedded
from expert_system.routing.features import FEATURES, features
from expert_system.routing.interface import Encoder, Reading
from expert_system.routing.model import RouterModel
from expert_system.routing.plan import decide
from expert_system.routing.prompt import Prompt, read_prompt
from expert_system.routing.score import Calibration, scores
from expert_system.training.router.corpus import Corpus, Role, Split
from expert_system.training.router.evaluate import Outcome, by, figures
from expert_system.training.router.examples import MEASURING, Example, generate, read_fresh, read_translations
from expert_system.training.router.manifests import manifest_of

if TYPE_CHECKING:
    from expert_system.training.router.calibrate import Case

LANGUAGES = ("en",)
"""What the encoder reads: its source is an English model."""
UNSEEN_COUNT = 3
"""A calibration prompt for an expert that the encoder never saw counts so often: what is installed later is like it."""
READINGS = 51
"""Of one text, to tell how long reading takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One example as the router reads it."""

    example: Example
    prompt: Prompt
    reading: Reading | None
    """None when nothing is asked."""


def official_manifests(folder: Path) -> dict[str, Manifest]:
    """The manifests of the official experts, by name; the corpus' own descriptions stand in for missing ones."""
    files = sorted(folder.glob("expert-*/manifest.json")) if folder.is_dir() else []
    return {manifest.name: manifest for manifest in map(read_manifest, files)}


def read_all(encoder: Encoder, examples: Iterable[Example]) -> list[Read]:
    """Read every prompt once."""
    found = []
    for example in examples:
        prompt = read_prompt(example.text)
        reading = encoder.read(prompt.asked) if prompt.asks else None
        found.append(Read(example=example, prompt=prompt, reading=reading))
    return found


def catalogue_of(
    corpus: Corpus, roles: Sequence[Role], official: Mapping[str, Manifest], encoder: Encoder, share: float = 1.0
) -> Catalogue:
    """Experts of these roles; of those that are not official a share, chosen by their names."""
    entries = []
    for expert in corpus.experts.values():
        if expert.role not in roles or (expert.role is not Role.OFFICIAL and _place(expert.name) >= share):
            continue
        manifest = official.get(expert.name) or manifest_of(expert)
        digest = Digest(hashlib.sha256(dump_manifest(manifest)).hexdigest())
        entries.append(Entry(digest=digest, manifest=manifest))
    return Catalogue(entries, embedded(entries, encoder, Kept()))


def cases_of(reads: Iterable[Read], catalogue: Catalogue) -> list[Case]:
    """Feature tables of the prompts that ask anything, and who is right."""
    from expert_system.training.router.calibrate import Case

    return [
        Case(
            table=features(found.prompt, found.reading, catalogue, languages=LANGUAGES),
            right=np.array([name in found.example.experts for name in catalogue.names]),
        )
        for found in reads
        if found.reading is not None
    ]


def outcomes_of(reads: Iterable[Read], catalogue: Catalogue, calibration: Calibration) -> list[Outcome]:
    """What the whole router makes of each example."""
    rules = Rules(threshold=calibration.threshold, second_threshold=calibration.second_threshold)
    names = frozenset(catalogue.names)
    found = []
    for read in reads:
        decision = decide(read.prompt, read.reading, catalogue, calibration, rules)
        seen = {chosen.name: chosen.score for chosen in decision.experts}
        seen |= {rejected.name: rejected.score for rejected in decision.rejected}
        best = max(seen, key=lambda name: seen[name], default="")
        found.append(
            Outcome(
                example=read.example,
                right=frozenset(read.example.experts) & names,
                best=best,
                score=seen.get(best, 0.0),
                chosen=frozenset(expert.name for expert in decision.experts),
            )
        )
    return found


def calibrated(encoder: Encoder, corpus: Corpus, official: Mapping[str, Manifest]) -> Calibration:
    """Fit a calibration for an encoder, on catalogues of several sizes."""
    from expert_system.training.router.calibrate import best_thresholds, fit_weights

    known = (Role.OFFICIAL, Role.TRAIN, Role.CALIBRATION)
    reads = read_all(encoder, generate(corpus, Split.CALIBRATION, MEASURING))
    catalogues = [
        catalogue_of(corpus, known, official, encoder),
        catalogue_of(corpus, known, official, encoder, share=0.4),
        catalogue_of(corpus, (Role.OFFICIAL,), official, encoder),
    ]
    unseen = {name for name, expert in corpus.experts.items() if expert.role is Role.CALIBRATION}
    counted = [read for read in reads for _ in range(UNSEEN_COUNT if unseen & {*read.example.experts} else 1)]
    cases = [case for catalogue in catalogues for case in cases_of(counted, catalogue)]
    fitted = fit_weights(cases, FEATURES)
    calibration = Calibration(
        version=encoder.version,
        encoder_digest=encoder.digest,
        features=FEATURES,
        weights=fitted.weights,
        bias=fitted.bias,
        threshold=0.5,
        second_threshold=0.5,
        languages=LANGUAGES,
        data_sha256=corpus.sha256,
    )
    scored = [scores(case.table, calibration) for case in cases]
    low, high = best_thresholds(scored, [case.right for case in cases])
    return calibration.model_copy(update={"threshold": low, "second_threshold": high})


def evaluated(
    encoder: Encoder, calibration: Calibration, corpus: Corpus, official: Mapping[str, Manifest]
) -> dict[str, Any]:
    """Figures on the held-out test split, in the words of the result file."""
    reads = read_all(encoder, generate(corpus, Split.TEST, MEASURING))
    everybody = catalogue_of(corpus, (Role.OFFICIAL, Role.TRAIN, Role.TEST), official, encoder)
    alone = catalogue_of(corpus, (Role.OFFICIAL,), official, encoder)
    wide = outcomes_of(reads, everybody, calibration)
    added = {name for name, expert in corpus.experts.items() if expert.role is Role.TEST}
    unseen = [found for found in wide if added & found.right]
    fresh = outcomes_of(read_all(encoder, read_fresh()), everybody, calibration)
    translated = outcomes_of(read_all(encoder, read_translations()), everybody, calibration)
    return {
        "all_experts": {"experts": len(everybody), **figures(wide).json()},
        "official_only": {"experts": len(alone), **figures(outcomes_of(reads, alone, calibration)).json()},
        "added_after_training": {"experts": len(added), **figures(unseen).json()},
        "written_afterwards": figures(fresh).json(),
        "written_afterwards_added": figures([found for found in fresh if added & found.right]).json(),
        "by_language": _json(by(wide, lambda example: example.language)),
        "same_prompts_by_language": _json(by(translated, lambda example: example.language)),
        "by_kind": _json(by(wide, lambda example: example.kind)),
        "by_family": _json(by(wide, lambda example: example.family)),
    }


def choices(models: Sequence[RouterModel], corpus: Corpus, official: Mapping[str, Manifest]) -> list[dict[str, Any]]:
    """What each model costs and reaches: its router, its similarity alone, and for the first keywords as well."""
    rows = []
    for place, model in enumerate(models):
        encoder = model.encoder
        known = catalogue_of(corpus, (Role.OFFICIAL, Role.TRAIN, Role.CALIBRATION), official, encoder)
        everybody = catalogue_of(corpus, (Role.OFFICIAL, Role.TRAIN, Role.TEST), official, encoder)
        calibrating = read_all(encoder, generate(corpus, Split.CALIBRATION, MEASURING))
        reads = read_all(encoder, generate(corpus, Split.TEST, MEASURING))
        about = {"read_ms": read_ms(encoder)}
        rows.append(
            _choice(f"{encoder.version}, router", outcomes_of(reads, everybody, model.calibration), corpus) | about
        )
        alone = {"best_similarity": f"{encoder.version}, similarity alone"}
        for column, title in (alone if place else alone | {"keyword_hits": "keyword matching"}).items():
            thresholds = column_thresholds(calibrating, known, column)
            rows.append(_choice(title, column_outcomes(reads, everybody, column, thresholds), corpus))
    return rows


def read_ms(encoder: Encoder) -> float:
    """Milliseconds to read a text that fills the window, the middle of several."""
    text = "alpha beta gamma delta " * 12
    taken = []
    for _ in range(READINGS):
        started = time.perf_counter()
        encoder.read(text)
        taken.append((time.perf_counter() - started) * 1e3)
    return round(sorted(taken)[READINGS // 2], 2)


def _choice(title: str, outcomes: Sequence[Outcome], corpus: Corpus) -> dict[str, Any]:
    added = {name for name, expert in corpus.experts.items() if expert.role is Role.TEST}
    unseen = figures([found for found in outcomes if added & found.right])
    return {"choice": title, **figures(outcomes).json(), "added_top1": unseen.json()["top1"]}


def column_outcomes(
    reads: Sequence[Read], catalogue: Catalogue, column: str, thresholds: tuple[float, float]
) -> list[Outcome]:
    """What one feature alone would make of each example, as a router by keywords or by similarity does."""
    from expert_system.training.router.calibrate import chosen

    place = FEATURES.index(column)
    found = []
    for read in reads:
        values = np.zeros(len(catalogue), dtype=np.float32)
        if read.reading is not None:
            values = features(read.prompt, read.reading, catalogue, languages=LANGUAGES)[:, place].clip(0.0, 1.0)
        best = int(values.argmax())
        taken = chosen(values, *thresholds)
        found.append(
            Outcome(
                example=read.example,
                right=frozenset(read.example.experts) & frozenset(catalogue.names),
                best=catalogue.names[best] if values[best] > 0 else "",
                score=float(values[best]),
                chosen=frozenset(name for name, is_in in zip(catalogue.names, taken, strict=True) if is_in),
            )
        )
    return found


def column_thresholds(reads: Sequence[Read], catalogue: Catalogue, column: str) -> tuple[float, float]:
    """The thresholds of one feature alone, from the calibration split."""
    from expert_system.training.router.calibrate import best_thresholds

    place = FEATURES.index(column)
    cases = cases_of(reads, catalogue)
    return best_thresholds([case.table[:, place].clip(0.0, 1.0) for case in cases], [case.right for case in cases])


def _place(name: str) -> float:
    """A number from 0 to 1 that only the name decides."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32


def _json(groups: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found.json() for name, found in groups.items()}

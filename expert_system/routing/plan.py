"""The decision: from one prompt, read and scored, to the experts of its plan and the reasons for each.

    Prompt + Reading + Catalogue + Calibration + Rules -> Decision

Promise: pure; the same input gives the same decision, and no text of a prompt can name an expert into it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from expert_system.domain import Digest, ExpertRef, RejectedExpert, RoutedExpert
from expert_system.package.manifest import Manifest
from expert_system.routing.catalog import Catalogue, Entry
from expert_system.routing.compatible import Fitted, Ranked, Rules, fit
from expert_system.routing.features import FEATURES, features
from expert_system.routing.interface import Floats, Reading
from expert_system.routing.prompt import Prompt
from expert_system.routing.score import Calibration, contributions, scores

SURE = 0.9
"""Probability from which a prompt counts as written in a language that the encoder does not read."""
LOOKED_AT = 32
"""Best experts that are tried for a place in the plan."""
SHOWN = 5
"""Experts that a plan shows as rejected."""
SHOWN_REASONS = 3
"""Features that explain an expert's score."""

_COLUMN = {name: place for place, name in enumerate(FEATURES)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What does not depend on the caller's sampling parameters, and is kept in the cache."""

    experts: tuple[RoutedExpert, ...]
    rejected: tuple[RejectedExpert, ...]
    reasons: tuple[str, ...]
    manifests: tuple[Manifest, ...]
    """Of `experts`, in the same order."""


def decide(
    prompt: Prompt,
    reading: Reading | None,
    catalogue: Catalogue,
    calibration: Calibration,
    rules: Rules,
    *,
    forced: Sequence[ExpertRef] = (),
    resident: Collection[Digest] = frozenset(),
) -> Decision:
    """Decide on one prompt.

    Args:
        prompt: as `read_prompt` made it.
        reading: what the encoder made of `prompt.asked`; None when it was not asked, since nothing is asked.
        catalogue: n experts.
        calibration: weights, thresholds.
        rules: limits, base, exclusions, measured harm; its thresholds are the calibration's.
        forced: experts that the caller insists on.
        resident: digests of experts that the engine holds.

    Raises:
        RequestError: what the caller insists on cannot be had.
    """
    table = np.zeros((len(catalogue), len(FEATURES)), dtype=np.float32)
    found = np.zeros(len(catalogue), dtype=np.float32)
    if reading is not None and len(catalogue):
        table = features(prompt, reading, catalogue, languages=calibration.languages, resident=resident)
        found = np.where(_readable(table), scores(table, calibration), 0.0).astype(np.float32)
    best = np.argsort(-found, kind="stable")[:LOOKED_AT]
    ranked = [Ranked(name=catalogue.names[row], score=float(found[row])) for row in best]
    fitted = fit(catalogue, forced, ranked if reading is not None else (), rules)
    members = fitted.in_load_order()
    weights = {reference.name: reference.weight for reference in forced}
    return Decision(
        experts=tuple(
            _routed(entry, fitted, weights, catalogue, table, found, calibration, reading is not None)
            for entry in members
        ),
        rejected=_rejected(ranked, fitted, rules) if reading is not None else (),
        reasons=_reasons(prompt, table, ranked, fitted, rules, calibration, read=reading is not None),
        manifests=tuple(entry.manifest for entry in members),
    )


def _readable(table: Floats) -> Floats:
    """(n,), 0 for experts that nothing but a reading of a foreign language speaks for."""
    exact = np.maximum(table[:, _COLUMN["format_named"]], table[:, _COLUMN["tech_named"]])
    exact = np.maximum(exact, table[:, _COLUMN["language_same"]])
    return np.asarray(np.logical_or(table[:, _COLUMN["foreign"]] < SURE, exact > 0), dtype=np.float32)


def _routed(
    entry: Entry,
    fitted: Fitted,
    weights: dict[str, float | None],
    catalogue: Catalogue,
    table: Floats,
    found: Floats,
    calibration: Calibration,
    read: bool,
) -> RoutedExpert:
    row = catalogue.places[entry.name]
    reasons = []
    if entry.name in weights:
        reasons.append("forced by the caller")
    elif entry.name in fitted.because:
        reasons.append(fitted.because[entry.name])
    if read:
        speaking = [(name, value) for name, value in contributions(table[row], calibration).items() if value > 0]
        reasons += [
            f"{name} {table[row, _COLUMN[name]]:.2f} adds {value:.2f}" for name, value in speaking[:SHOWN_REASONS]
        ]
    weight = weights.get(entry.name)
    composition = entry.manifest.composition
    return RoutedExpert(
        name=entry.name,
        version=entry.manifest.version,
        digest=entry.digest,
        weight=composition.weight if weight is None else weight,
        score=round(float(found[row]), 6),
        category=composition.category,
        load_order=composition.load_order,
        reasons=tuple(reasons),
    )


def _rejected(ranked: Sequence[Ranked], fitted: Fitted, rules: Rules) -> tuple[RejectedExpert, ...]:
    others = [candidate for candidate in ranked if candidate.name not in fitted.members]
    return tuple(
        RejectedExpert(
            name=candidate.name,
            score=round(candidate.score, 6),
            reason=fitted.left_out.get(candidate.name, "not needed"),
        )
        for candidate in others[:SHOWN]
    )


def _reasons(
    prompt: Prompt,
    table: Floats,
    ranked: Sequence[Ranked],
    fitted: Fitted,
    rules: Rules,
    calibration: Calibration,
    *,
    read: bool,
) -> tuple[str, ...]:
    """Why the plan is as it is, in sentences without a word of the prompt."""
    reasons = []
    if not prompt.asks:
        reasons.append("nothing is asked outside of quotes, code, logs and orders to the router")
    elif not len(table):
        reasons.append("no expert is installed that could be chosen")
    elif not read:
        reasons.append("no expert is allowed")
    else:
        if table[0, _COLUMN["foreign"]] >= SURE:
            known = ", ".join(calibration.languages)
            reasons.append(
                f"the prompt is in {prompt.language.code}, which the router does not read (it reads {known}); "
                "only what is named by exact words counts"
            )
        if not fitted.members:
            best = ranked[0]
            refused = fitted.left_out.get(best.name, "")
            reasons.append(f"no expert fits: the best is {best.name}, which {_as_clause(refused)}")
        else:
            reasons.append(f"{len(fitted.members)} of {len(table):,} experts fit")
        reasons += [
            f"{name} is left out: {problem}"
            for name, problem in fitted.left_out.items()
            if not problem.startswith("scores") and fitted.members
        ]
    return tuple(reasons)


def _as_clause(problem: str) -> str:
    return problem if problem.startswith(("scores", "requires")) else f"cannot be used: {problem}"

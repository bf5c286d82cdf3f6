"""Fit the weights of the router's score, and its thresholds, on the calibration split.

    feature tables (n, k) + which experts are right -> logistic regression with signs -> weights, bias
    scores + which are right -> thresholds with the best set F1

Promise: what speaks for an expert never gets a weight below 0 and what speaks against one never above, so a score can
be explained; the same tables give the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

Floats = NDArray[np.float32]
Truths = NDArray[np.bool_]

HEADS = ("format", "language", "technology", "task")
SPEAKS_FOR = frozenset(
    {
        *("best_similarity", "mean_similarity", "description_similarity", "rank_margin", "need"),
        *(f"{head}_agreement" for head in HEADS),
        *("format_asked", "format_named", "tech_asked", "tech_named", "topic_named"),
        *("data_agreement", "keyword_hits", "keyword_rarity", "descriptor_words"),
        "foreign_named",
    }
)
SPEAKS_AGAINST = frozenset(
    {
        *("negative_excess", "format_other", "tech_other", "language_other", "foreign", "masked_share"),
        *(f"{head}_{part}" for head in HEADS for part in ("conflict", "silence")),
    }
)
FIXED: Mapping[str, float] = {"priority": 0.3, "memory_cost": -0.2, "resident": 0.05}
"""Weights that the data cannot tell, since prompts do not depend on them: they part experts that fit equally well."""
PENALTY = 1e-3
"""Times the mean square of the weights, added to the loss of one prompt."""
MAX_ITERATIONS = 400
GRID = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Thresholds that are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One prompt against one catalogue of n experts."""

    table: Floats
    """(n, k)"""
    right: Truths
    """(n,)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Of the score's sum."""

    weights: tuple[float, ...]
    bias: float
    loss: float
    """Cross-entropy of a prompt, summed over its experts."""


def fit_weights(cases: Sequence[Case], features: Sequence[str]) -> Weights:
    """Fit by L-BFGS.

    Args:
        cases: of the calibration split.
        features: names of the k columns.
    """
    table = torch.from_numpy(np.concatenate([case.table for case in cases]))
    right = torch.from_numpy(np.concatenate([case.right for case in cases]).astype(np.float32))
    signs = torch.tensor([1.0 if n in SPEAKS_FOR else -1.0 if n in SPEAKS_AGAINST else 0.0 for n in features])
    learned = torch.tensor([name not in FIXED for name in features])
    fixed = torch.tensor([FIXED.get(name, 0.0) for name in features])
    raw = torch.full((len(features),), -1.0)
    raw[signs == 0] = 0.0
    raw.requires_grad_(True)
    bias = torch.tensor(-3.0, requires_grad=True)

    def weights() -> torch.Tensor:
        signed = torch.where(signs == 0, raw, signs * functional.softplus(raw))
        return torch.where(learned, signed, fixed)

    def loss_now() -> torch.Tensor:
        sums = table @ weights() + bias
        fitting = functional.binary_cross_entropy_with_logits(sums, right, reduction="sum") / len(cases)
        return fitting + PENALTY * weights().square().mean()

    optimiser = torch.optim.LBFGS([raw, bias], max_iter=MAX_ITERATIONS, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = loss_now()
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        values = [round(float(value), 6) for value in weights()]
        return Weights(weights=tuple(values), bias=round(float(bias), 6), loss=float(loss_now()))


def best_thresholds(scores: Sequence[Floats], right: Sequence[Truths]) -> tuple[float, float]:
    """The threshold and the one for further experts with the best mean set F1; of equal ones the highest.

    Args:
        scores: (n,) of each prompt.
        right: (n,) of each prompt.
    """
    best = max(
        (np.mean([f1(chosen(s, low, high), r) for s, r in zip(scores, right, strict=True)]), low, high)
        for low in GRID
        for high in GRID
        if high >= low
    )
    return best[1], best[2]


def chosen(scores: Floats, threshold: float, second_threshold: float) -> Truths:
    """(n,) the best expert where it reaches the threshold, and those that reach the second with it."""
    taken = np.zeros(len(scores), dtype=np.bool_)
    if len(scores) and scores.max() >= threshold:
        taken = scores >= second_threshold
        taken[int(scores.argmax())] = True
    return taken


def f1(taken: Truths, right: Truths) -> float:
    """Of two sets; 1 when both are empty."""
    total = int(taken.sum()) + int(right.sum())
    return 2.0 * int((taken & right).sum()) / total if total else 1.0

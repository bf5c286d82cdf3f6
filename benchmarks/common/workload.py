"""Seeded workloads: random prompts, Zipf popularity, Gamma arrivals."""

from __future__ import annotations

import math

import numpy as np

FIRST_ORDINARY_TOKEN = 100
"""Ids below are special or single bytes in the vocabularies used here."""


def prompts(count: int, length: int, vocabulary: int, seed: int) -> list[list[int]]:
    """Random prompts; no two share a prefix, so that no cache answers for the engine."""
    random = np.random.default_rng(seed)
    first = min(FIRST_ORDINARY_TOKEN, vocabulary // 4)
    return [[int(token) for token in row] for row in random.integers(first, vocabulary - 4, (count, length))]


def zipf_shares(count: int, exponent: float) -> list[float]:
    """Probability of each of `count` experts, most popular first, as 1 / rank ** exponent."""
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    return [float(share) for share in weights / weights.sum()]


def zipf_choices(requests: int, count: int, exponent: float, seed: int) -> list[int]:
    """Which expert each request asks for."""
    random = np.random.default_rng(seed)
    return [int(choice) for choice in random.choice(count, size=requests, p=zipf_shares(count, exponent))]


def gamma_arrivals(rate_per_s: float, variation: float, duration_s: float, seed: int) -> list[float]:
    """Arrival times in seconds within the duration.

    Args:
        rate_per_s: mean arrivals in a second.
        variation: coefficient of variation of the time between arrivals; 1 is a Poisson process, more is burstier.
        duration_s: none arrives later.
        seed: equal seeds give equal times.
    """
    random = np.random.default_rng(seed)
    shape = 1 / variation**2
    enough = math.ceil(rate_per_s * duration_s * (2 + variation)) + 16
    between = random.gamma(shape, 1 / (shape * rate_per_s), enough)
    return [float(time) for time in np.cumsum(between) if time < duration_s]

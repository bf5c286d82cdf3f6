"""A sentence encoder without a model: hashed words, and heads that know words by heart.

    text -> words -> hashed bag of words (unit length) + head probabilities from lists of words

Promise: deterministic, instant, and close only where words are shared; for unit tests, never for a server.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from expert_system.routing.features import FEATURES
from expert_system.routing.interface import NEED, NEEDED, NONE, Floats
from expert_system.routing.score import Calibration
from expert_system.routing.words import tokens_of

WORDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "format": {"json": ("json",), "yaml": ("yaml",), "csv": ("csv",)},
    "technology": {"sql": ("sql", "query", "rows"), "cypher": ("cypher", "graph", "hops")},
    "language": {"en": ("grammar",)},
    "task": {"extraction": ("extract",), "classification": ("classify", "label")},
}
"""Head -> label -> words that make it certain."""
FAKE_DIGEST = hashlib.sha256(b"fake encoder").hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeReading:
    """What the fake makes of a text."""

    embedding: Floats
    probabilities: Mapping[str, Mapping[str, float]]


@dataclass(slots=True, kw_only=True)
class FakeEncoder:
    """Words are all it knows."""

    dimension: int = 64
    version: str = "fake"
    digest: str = FAKE_DIGEST
    seen: list[str] = field(default_factory=list)
    """Every text that was read."""
    embedded: list[str] = field(default_factory=list)
    """Every text that was embedded."""

    def read(self, text: str) -> FakeReading:
        """Embed a text and look its words up."""
        self.seen.append(text)
        words = set(tokens_of(text))
        found = {head: _probabilities(labels, words) for head, labels in WORDS.items()}
        needed = any(probabilities[NONE] < 1.0 for probabilities in found.values())
        found[NEED] = {NEEDED: float(needed), NONE: float(not needed)}
        return FakeReading(embedding=self._embed(text), probabilities=found)

    def embed(self, texts: Sequence[str]) -> Floats:
        """(n, dimension) hashed bags of words."""
        self.embedded.extend(texts)
        return np.stack([self._embed(text) for text in texts])

    def _embed(self, text: str) -> Floats:
        vector = np.zeros(self.dimension, dtype=np.float32)
        vector[0] = 1e-3  # a text without words has a direction too
        for word in tokens_of(text):
            place = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "big") % self.dimension
            vector[place] += 1.0
        return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def fake_calibration(**changes: float) -> Calibration:
    """Weights by hand that follow words: enough for tests of everything around the scores."""
    weights = dict.fromkeys(FEATURES, 0.0) | {
        "best_similarity": 4.0,
        "negative_excess": -4.0,
        "need": 1.0,
        "format_agreement": 3.0,
        "technology_agreement": 3.0,
        "task_agreement": 2.0,
        "language_agreement": 3.0,
        "format_asked": 2.0,
        "tech_asked": 2.0,
        "keyword_hits": 2.0,
    }
    return Calibration(
        version="fake",
        encoder_digest=FAKE_DIGEST,
        features=FEATURES,
        weights=tuple((weights | changes).values()),
        bias=-4.5,
        threshold=0.5,
        second_threshold=0.6,
    )


def _probabilities(labels: Mapping[str, tuple[str, ...]], words: set[str]) -> dict[str, float]:
    hits = [label for label, known in labels.items() if words & set(known)]
    found = dict.fromkeys(labels, 0.0) | {label: 1.0 / len(hits) for label in hits}
    return found | {NONE: 0.0 if hits else 1.0}

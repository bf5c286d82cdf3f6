"""What speaks for and against each expert of a catalogue, for one prompt, as numbers in a fixed order.

    Prompt + Reading + Catalogue -> (n, len(FEATURES)) float32

Promise: pure; the same prompt, reading and catalogue give the same numbers; one pass of numpy over all experts.
Whoever fits weights calls `read_prompt`, hands `prompt.asked` to the encoder, and calls `features`.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from expert_system.domain import Digest
from expert_system.routing.catalog import HEADS, Catalogue
from expert_system.routing.interface import NEED, NEEDED, NONE, Floats, Reading
from expert_system.routing.prompt import Prompt
from expert_system.routing.words import is_asked, phrases_of, stems_of

FULL_KEYWORDS = 3
"""Keywords of one expert after which more say nothing new."""
FULL_WORDS = 2.0
"""Rarities of words shared with an expert's descriptors, added up, after which more say nothing new."""

MEANING: dict[str, str] = {
    "best_similarity": "highest cosine to the expert's description, examples and keywords",
    "mean_similarity": "mean cosine to them",
    "description_similarity": "cosine to the description alone",
    "rank_margin": "best_similarity above that of the best other expert; below 0 for all but the first",
    "negative_similarity": "highest cosine to its negative examples; 0 without any",
    "negative_excess": "by how much that is above best_similarity, else 0",
    "need": "the encoder's probability that any expert is needed; the same for all experts",
    **{
        f"{head}_{part}": text
        for head in HEADS
        for part, text in (
            ("agreement", f"probability of its {head} labels, where the head knows any of them"),
            ("conflict", f"probability of other {head} labels, for an expert with a known one"),
            ("silence", f"probability that no {head} is meant, for an expert with a known label"),
        )
    },
    "format_asked": "1 when one of its formats is asked for by name, as in `as JSON`",
    "format_named": "1 when one of its formats is named at all",
    "format_other": "1 when the expert has a format and only others are named",
    "tech_asked": "1 when one of its technologies is asked for by name",
    "tech_named": "1 when one of its technologies is named at all",
    "tech_other": "1 when the expert has a technology and only others are named",
    "language_named": "1 when one of its languages is named",
    "language_other": "1 when the expert has a language and only others are named",
    "topic_named": "1 when the word of one of its domains or tasks occurs",
    "data_agreement": "1 when the prompt carries data of one of its formats or technologies",
    "keyword_hits": "keywords found, 3 count as 1",
    "keyword_rarity": "1 for a found keyword that no other expert has, towards 0 for one that all have",
    "descriptor_words": "words shared with its description, examples and keywords, each by its rarity",
    "language_same": "probability of the prompt's language when the expert has it as a capability",
    "language_differs": "that probability when the expert has other languages",
    "foreign": "probability of a language that the encoder does not read; the same for all experts",
    "foreign_named": "foreign, where a format or technology of the expert is named all the same",
    "brevity": "1 / (1 + words asked); the same for all experts",
    "masked_share": "part of the prompt in quotes, code, logs; the same for all experts",
    "priority": "routing.priority of the manifest, less 0.5",
    "memory_cost": "log2(1 + MB of weights) / 10",
    "resident": "1 when the engine holds it",
}
"""Each feature and what it says, in their order."""
FEATURES: tuple[str, ...] = tuple(MEANING)
_COLUMN = {name: place for place, name in enumerate(FEATURES)}


def features(
    prompt: Prompt,
    reading: Reading,
    catalogue: Catalogue,
    *,
    languages: Collection[str] = ("en",),
    resident: Collection[Digest] = frozenset(),
) -> Floats:
    """The feature matrix of one prompt.

    Args:
        prompt: as `read_prompt` made it.
        reading: what the encoder made of `prompt.asked`.
        catalogue: n experts.
        languages: ISO 639-1 codes that the encoder reads (`Calibration.languages`).
        resident: digests of experts that the engine holds.

    Returns:
        (n, len(FEATURES)), columns as in FEATURES, every value finite.
    """
    table = np.zeros((len(catalogue), len(FEATURES)), dtype=np.float32)
    if not len(catalogue):
        return table
    _similarity(table, np.asarray(reading.embedding, dtype=np.float32), catalogue)
    _heads(table, reading, catalogue)
    _names(table, prompt, catalogue)
    _language(table, prompt, catalogue, languages)
    table[:, _COLUMN["brevity"]] = 1.0 / (1.0 + len(prompt.tokens))
    table[:, _COLUMN["masked_share"]] = prompt.masked_share
    table[:, _COLUMN["priority"] : _COLUMN["memory_cost"] + 1] = catalogue.constants
    if resident:
        table[:, _COLUMN["resident"]] = [entry.digest in resident for entry in catalogue.entries]
    return table


def products(rows: Floats, vector: Floats) -> Floats:
    """(n,), the product of each row with a vector, on this thread alone.

    A linear algebra library would give half of them to another core, and wait there for the engine's time slice to end.
    """
    found: Floats = np.einsum("ij,j->i", rows, vector)
    return found


def _similarity(table: Floats, embedding: Floats, catalogue: Catalogue) -> None:
    vectors, starts, counts = catalogue.positive
    cosines = products(vectors, embedding)
    best = np.maximum.reduceat(cosines, starts)
    table[:, _COLUMN["best_similarity"]] = best
    table[:, _COLUMN["mean_similarity"]] = np.add.reduceat(cosines, starts) / counts
    table[:, _COLUMN["description_similarity"]] = cosines[starts]
    if len(best) > 1:
        first = int(np.argmax(best))
        second = float(np.max(np.delete(best, first)))
        margin = best - best[first]
        margin[first] = best[first] - second
        table[:, _COLUMN["rank_margin"]] = margin
    vectors, starts, rows = catalogue.negative
    if len(rows):
        negative = np.maximum.reduceat(products(vectors, embedding), starts)
        table[rows, _COLUMN["negative_similarity"]] = negative
        table[rows, _COLUMN["negative_excess"]] = np.maximum(0.0, negative - best[rows])


def _heads(table: Floats, reading: Reading, catalogue: Catalogue) -> None:
    probabilities = reading.probabilities
    table[:, _COLUMN["need"]] = probabilities.get(NEED, {}).get(NEEDED, 0.0)
    for head, kind in HEADS.items():
        labels = catalogue.labels[kind]
        known = probabilities.get(head, {})
        if not labels or not known:
            continue
        having = catalogue.having[kind]
        agreement = having @ np.array([known.get(label, 0.0) for label in labels], dtype=np.float32)
        told = (having @ np.array([label in known for label in labels], dtype=np.float32)) > 0
        silence = known.get(NONE, 0.0)
        table[:, _COLUMN[f"{head}_agreement"]] = agreement
        table[:, _COLUMN[f"{head}_conflict"]] = np.where(told, np.maximum(0.0, 1.0 - silence - agreement), 0.0)
        table[:, _COLUMN[f"{head}_silence"]] = np.where(told, silence, 0.0)


def _names(table: Floats, prompt: Prompt, catalogue: Catalogue) -> None:
    """Exact words: capabilities by name, keywords, and the data that the prompt carries."""
    named: set[str] = set()
    asked: set[str] = set()
    hits = np.zeros(len(catalogue), dtype=np.float32)
    rarity = np.zeros(len(catalogue), dtype=np.float32)
    seen: set[str] = set()
    for start, phrase in phrases_of(prompt.tokens, catalogue.first_words):
        capabilities = catalogue.phrases.get(phrase, ())
        named.update(capabilities)
        if capabilities and is_asked(prompt.tokens, start):
            asked.update(capabilities)
        rows = catalogue.keywords.get(phrase)
        if rows is not None and phrase not in seen:
            seen.add(phrase)
            hits[rows] += 1.0
            rarity[rows] = np.maximum(rarity[rows], 1.0 - (len(rows) - 1) / len(catalogue))
    table[:, _COLUMN["keyword_hits"]] = np.minimum(1.0, hits / FULL_KEYWORDS)
    table[:, _COLUMN["keyword_rarity"]] = rarity
    table[:, _COLUMN["descriptor_words"]] = _shared_words(prompt, catalogue)
    for kind in ("format", "tech"):
        table[:, _COLUMN[f"{kind}_asked"]] = _any(catalogue, kind, asked)
    for kind in ("format", "tech", "language"):
        own = _any(catalogue, kind, named)
        others = any(found.startswith(f"{kind}:") for found in named)
        table[:, _COLUMN[f"{kind}_named"]] = own
        table[:, _COLUMN[f"{kind}_other"]] = others & catalogue.having[kind].any(axis=1) & (own == 0)
    table[:, _COLUMN["topic_named"]] = np.maximum(_any(catalogue, "domain", named), _any(catalogue, "task", named))
    table[:, _COLUMN["data_agreement"]] = np.maximum(
        _any(catalogue, "format", prompt.carried), _any(catalogue, "tech", prompt.carried)
    )


def _shared_words(prompt: Prompt, catalogue: Catalogue) -> Floats:
    """(n,), 0 to 1: also names that no keyword is, which the encoder's small vocabulary knows by their parts only."""
    shared = np.zeros(len(catalogue), dtype=np.float32)
    for stem in sorted(stems_of(prompt.tokens)):
        known = catalogue.stems.get(stem)
        if known is not None:
            shared[known[0]] += known[1]
    found: Floats = np.minimum(np.float32(1.0), shared / np.float32(FULL_WORDS))
    return found


def _language(table: Floats, prompt: Prompt, catalogue: Catalogue, languages: Collection[str]) -> None:
    found = prompt.language
    having = catalogue.having["language"]
    if found.code:
        own = _any(catalogue, "language", {f"language:{found.code}"})
        table[:, _COLUMN["language_same"]] = own * found.probability
        table[:, _COLUMN["language_differs"]] = (having.any(axis=1) & (own == 0)) * found.probability
    if found.code and found.code not in languages:
        named = np.maximum(table[:, _COLUMN["format_named"]], table[:, _COLUMN["tech_named"]])
        table[:, _COLUMN["foreign"]] = found.probability
        table[:, _COLUMN["foreign_named"]] = named * found.probability


def _is_named(catalogue: Catalogue, kind: str, capabilities: Collection[str]) -> NDArray[np.bool_]:
    return np.array([f"{kind}:{value}" in capabilities for value in catalogue.labels[kind]], dtype=np.bool_)


def _any(catalogue: Catalogue, kind: str, capabilities: Collection[str]) -> Floats:
    """(n,), 1 for each expert with one of these capabilities of this kind."""
    if not any(found.startswith(f"{kind}:") for found in capabilities):  # most prompts name nothing of most kinds
        return np.zeros(len(catalogue), dtype=np.float32)
    return (catalogue.having[kind] @ _is_named(catalogue, kind, capabilities).astype(np.float32) > 0).astype(np.float32)

"""The embedded descriptors of each expert: computed once, kept in `derived/`, and checked whenever they are read.

    manifest -> texts -> encoder -> Vectors -> bytes kept under (expert digest, encoder digest)

Promise: what does not have the shape that the manifest and the encoder ask for is computed anew, never used.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from expert_system.domain import Digest
from expert_system.routing.catalog import Entry, Vectors, descriptors_of
from expert_system.routing.interface import Encoder, Floats

FILE_NAME = "descriptors.npz"
"""What the derived file is called."""
BATCH = 64
"""Texts that are embedded at once."""
UNIT = 1e-3
"""How far from 1 the length of an embedding may be."""


def _nothing(expert: Digest, encoder: Digest) -> bytes | None:
    return None


def _nowhere(expert: Digest, encoder: Digest, content: bytes) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Where embedded descriptors are kept, as functions of expert and encoder; without them nothing is kept."""

    read: Callable[[Digest, Digest], bytes | None] = _nothing
    """The content as it was written, or None when it is missing or damaged."""
    write: Callable[[Digest, Digest, bytes], None] = _nowhere


NOT_KEPT = Kept()
"""Every time anew; for catalogues that are looked at once."""


def embedded(entries: Iterable[Entry], encoder: Encoder, kept: Kept) -> dict[Digest, Vectors]:
    """The vectors of each expert by digest; only what is not kept is computed."""
    found: dict[Digest, Vectors] = {}
    missing: list[Entry] = []
    key = Digest(encoder.digest)
    for entry in entries:
        content = kept.read(entry.digest, key)
        vectors = None if content is None else loaded(content, entry, encoder.dimension)
        if vectors is None:
            missing.append(entry)
        else:
            found[entry.digest] = vectors
    for entry, vectors in zip(missing, _embed(missing, encoder), strict=True):
        kept.write(entry.digest, key, dumped(vectors))
        found[entry.digest] = vectors
    return found


def dumped(vectors: Vectors) -> bytes:
    """The bytes to keep."""
    stream = io.BytesIO()
    np.savez(stream, positive=vectors.positive, negative=vectors.negative)
    return stream.getvalue()


def loaded(content: bytes, entry: Entry, dimension: int) -> Vectors | None:
    """Read kept bytes; None when they are not the vectors of this expert under this encoder."""
    positive, negative = descriptors_of(entry.manifest)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            vectors = Vectors(positive=arrays["positive"], negative=arrays["negative"])
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
        return None
    for array, texts in ((vectors.positive, positive), (vectors.negative, negative)):
        if array.dtype != np.float32 or array.shape != (len(texts), dimension) or not _is_unit(array):
            return None
    return vectors


def _embed(entries: Sequence[Entry], encoder: Encoder) -> Iterable[Vectors]:
    """All texts of all experts in batches, parted again."""
    parts = [descriptors_of(entry.manifest) for entry in entries]
    texts = [text for positive, negative in parts for text in (*positive, *negative)]
    rows = [encoder.embed(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
    everything = np.concatenate(rows).astype(np.float32) if rows else np.zeros((0, encoder.dimension), np.float32)
    start = 0
    for positive, negative in parts:
        middle = start + len(positive)
        end = middle + len(negative)
        yield Vectors(positive=everything[start:middle], negative=everything[middle:end])
        start = end


def _is_unit(array: Floats) -> bool:
    lengths = np.linalg.norm(array, axis=1)
    return bool(np.all(np.isfinite(lengths)) and np.all(np.abs(lengths - 1.0) < UNIT))

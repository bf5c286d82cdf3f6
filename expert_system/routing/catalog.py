"""The experts that may be chosen: their manifests, and everything about them that does not depend on a prompt.

    manifests + embedded descriptors -> Catalogue (arrays over all experts) -> features

Promise: a catalogue is read-only and named by its digest; the order of experts is that of their names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from semantic_version import SimpleSpec, Version

from expert_system.domain import Digest
from expert_system.errors import PackageError
from expert_system.package.fields import split_range
from expert_system.package.manifest import MANIFEST_FILE, Manifest, parse_manifest, read_manifest_bytes
from expert_system.package.stored import StoredExpert
from expert_system.routing.interface import Floats
from expert_system.routing.words import ALSO, index_phrases, stems_of, tokens_of

MAX_EXAMPLES = 11
"""Examples of an expert that are looked at; more are left out, so that scoring stays in time."""
MAX_NEGATIVES = 6
MAX_CATALOGUE = 5_000
"""Experts in one catalogue."""
HEADS: Mapping[str, str] = {"format": "format", "language": "language", "technology": "tech", "task": "task"}
"""Each head of the encoder, and the kind of capability that its labels are."""
KINDS = ("format", "language", "tech", "domain", "task")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One expert that may be chosen."""

    digest: Digest
    """Of its signed content; for a folder of manifests, of the manifest."""
    manifest: Manifest
    size_bytes: int = 0
    """Of its weights; 0 when unknown."""
    verified: bool = True

    @property
    def name(self) -> str:
        """The expert's full name."""
        return self.manifest.name

    @property
    def requires(self) -> tuple[tuple[str, SimpleSpec], ...]:
        """What it cannot run without."""
        return tuple(split_range(reference) for reference in self.manifest.composition.requires)

    def excludes(self, other: Entry) -> bool:
        """Whether its manifest refuses to run beside the other."""
        version = Version(other.manifest.version)
        return any(
            name == other.name and version in spec
            for name, spec in map(split_range, self.manifest.composition.incompatible_with)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """The embedded descriptors of one expert, each row of unit length."""

    positive: Floats
    """(texts, dimension); the first is the description's."""
    negative: Floats
    """(negative examples, dimension); may be empty."""


def descriptors_of(manifest: Manifest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The texts to embed: description, examples and all keywords as one text; and negative examples."""
    routing = manifest.routing
    keywords = (", ".join(routing.keywords),) if routing.keywords else ()
    return (
        (routing.description, *routing.examples[:MAX_EXAMPLES], *keywords),
        routing.negative_examples[:MAX_NEGATIVES],
    )


class Catalogue:
    """Experts by name, and their arrays; n is the number of experts."""

    def __init__(self, entries: Iterable[Entry], vectors: Mapping[Digest, Vectors]) -> None:
        """Pack the experts.

        Args:
            entries: each name once, at most MAX_CATALOGUE.
            vectors: the embedded descriptors of each, by digest.

        Raises:
            PackageError: a name occurs twice, or there are too many.
        """
        self.entries: tuple[Entry, ...] = tuple(sorted(entries, key=lambda entry: entry.name))
        self.names: tuple[str, ...] = tuple(entry.name for entry in self.entries)
        if len(self.names) > MAX_CATALOGUE:
            raise PackageError(f"{len(self.names):,} experts; the router chooses among {MAX_CATALOGUE:,} at most")
        twice = sorted({name for name, after in zip(self.names, self.names[1:], strict=False) if name == after})
        if twice:
            raise PackageError(f"{twice[0]} occurs twice in the catalogue; keep one version of each expert")
        self._vectors = [vectors[entry.digest] for entry in self.entries]

    def __len__(self) -> int:
        return len(self.entries)

    def find(self, name: str) -> Entry | None:
        """The expert with this full name."""
        place = self.places.get(name)
        return None if place is None else self.entries[place]

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Name -> row."""
        return {name: place for place, name in enumerate(self.names)}

    @cached_property
    def first_words(self) -> frozenset[str]:
        """The words that some phrase or keyword begins with: elsewhere in a prompt there is nothing to look up."""
        return frozenset(phrase.partition(" ")[0] for phrase in (*self.phrases, *self.keywords))

    @cached_property
    def digest(self) -> str:
        """sha256 over the digests of its experts: the same experts, the same digest."""
        content = "\n".join(f"{entry.name} {entry.digest} {entry.verified:d}" for entry in self.entries)
        return hashlib.sha256(content.encode()).hexdigest()

    @cached_property
    def positive(self) -> tuple[Floats, NDArray[np.intp], Floats]:
        """(m, dimension) descriptors of all experts in order, (n,) first row of each, (n,) how many each has."""
        counts = np.array([len(found.positive) for found in self._vectors], dtype=np.intp)
        return _stack([found.positive for found in self._vectors]), _starts(counts), counts.astype(np.float32)

    @cached_property
    def negative(self) -> tuple[Floats, NDArray[np.intp], NDArray[np.intp]]:
        """(m, dimension) negative examples, (k,) first row of each expert that has any, (k,) those experts' rows."""
        having = np.array([row for row, found in enumerate(self._vectors) if len(found.negative)], dtype=np.intp)
        counts = np.array([len(self._vectors[row].negative) for row in having], dtype=np.intp)
        return _stack([self._vectors[row].negative for row in having]), _starts(counts), having

    @cached_property
    def labels(self) -> Mapping[str, tuple[str, ...]]:
        """Kind of capability -> the values that any expert has."""
        return {
            kind: tuple(sorted({value for entry in self.entries for value in _values(entry.manifest, kind)}))
            for kind in KINDS
        }

    @cached_property
    def having(self) -> Mapping[str, Floats]:
        """Kind of capability -> (n, values), 1 where the expert has the value."""
        found = {}
        for kind, labels in self.labels.items():
            column = {value: place for place, value in enumerate(labels)}
            table = np.zeros((len(self.entries), len(labels)), dtype=np.float32)
            for row, entry in enumerate(self.entries):
                for value in _values(entry.manifest, kind):
                    table[row, column[value]] = 1.0
            found[kind] = table
        return found

    @cached_property
    def phrases(self) -> Mapping[str, tuple[str, ...]]:
        """Phrase -> the capabilities that it names: those of these experts, and all that have words of their own."""
        own = (capability for entry in self.entries for capability in entry.manifest.capabilities)
        return index_phrases((*ALSO, *own))

    @cached_property
    def keywords(self) -> Mapping[str, NDArray[np.intp]]:
        """Keyword as tokens -> rows of the experts that have it."""
        found: dict[str, list[int]] = {}
        for row, entry in enumerate(self.entries):
            for keyword in {" ".join(tokens_of(word)) for word in entry.manifest.routing.keywords}:
                found.setdefault(keyword, []).append(row)
        return {keyword: np.array(rows, dtype=np.intp) for keyword, rows in found.items() if keyword}

    @cached_property
    def stems(self) -> Mapping[str, tuple[NDArray[np.intp], float]]:
        """Beginning of a word -> rows of the experts whose descriptors have it, and how rare it is, from 0 to 1."""
        found: dict[str, list[int]] = {}
        for row, entry in enumerate(self.entries):
            for stem in stems_of(tokens_of(" ".join(descriptors_of(entry.manifest)[0]))):
                found.setdefault(stem, []).append(row)
        most = np.log(len(self.entries) + 1.0)
        return {
            stem: (np.array(rows, dtype=np.intp), float(1.0 - np.log(len(rows)) / most)) for stem, rows in found.items()
        }

    @cached_property
    def constants(self) -> Floats:
        """(n, 2): priority above 0.5, and memory cost as log2(1 + MB) / 10."""
        return np.array(
            [
                (entry.manifest.routing.priority - 0.5, np.log2(1.0 + entry.size_bytes / 1e6) / 10.0)
                for entry in self.entries
            ],
            dtype=np.float32,
        ).reshape(len(self.entries), 2)


def read_folder(folder: Path) -> tuple[Entry, ...]:
    """Read a catalogue of manifests: `NAME/manifest.json` and `NAME.json`, in the order of their names.

    Raises:
        PackageError: the folder cannot be read, holds no manifest, or one that is not well formed.
    """
    try:
        files = sorted([*folder.glob(f"*/{MANIFEST_FILE}"), *folder.glob("*.json")])
    except OSError as error:
        raise PackageError(f"{folder}: cannot be read: {error.strerror}") from None
    files = [file for file in files if file.parent.name != "template"]
    if not files:
        raise PackageError(f"{folder}: holds no NAME/{MANIFEST_FILE} and no NAME.json; name a folder of manifests")
    entries = []
    for file in files[: MAX_CATALOGUE + 1]:
        data = read_manifest_bytes(file)
        digest = Digest(hashlib.sha256(data).hexdigest())
        entries.append(Entry(digest=digest, manifest=parse_manifest(data, where=str(file))))
    return tuple(entries)


def entry_of(expert: StoredExpert) -> Entry:
    """A stored expert as the router sees it; looks at the sizes of its weights."""
    weights = [expert.path / path for path in expert.files if path.endswith(".safetensors")]
    size_bytes = sum(file.stat().st_size for file in weights if file.is_file())
    return Entry(digest=expert.digest, manifest=expert.manifest, size_bytes=size_bytes, verified=expert.verified)


def _values(manifest: Manifest, kind: str) -> set[str]:
    prefix = f"{kind}:"
    return {found.removeprefix(prefix) for found in manifest.capabilities if found.startswith(prefix)}


def _stack(parts: Sequence[Floats]) -> Floats:
    return np.concatenate(parts).astype(np.float32) if parts else np.zeros((0, 0), dtype=np.float32)


def _starts(counts: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.concatenate([np.zeros(1, dtype=np.intp), np.cumsum(counts)[:-1]]) if len(counts) else counts

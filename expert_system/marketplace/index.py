"""A marketplace index as a node sees it: a git repository that holds a TUF repository (formats.md 5).

    index repository -> git objects -> python-tuf's client -> verified entries -> catalogue.json -> search, versions

Promise: rollback, freeze, mix-and-match and replaced keys are TUF's to refuse. An index that cannot be verified, or has
expired, stops updates through it; what is installed goes on working.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuf.api.exceptions import DownloadError, DownloadHTTPError, ExpiredMetadataError, RepositoryError
from tuf.api.metadata import Metadata, Targets  # type: ignore[attr-defined]
from tuf.ngclient import Updater, UpdaterConfig  # type: ignore[attr-defined]
from tuf.ngclient.fetcher import FetcherInterface

from expert_system.errors import MarketplaceError, SourceUnavailable
from expert_system.marketplace import tuf_keys
from expert_system.marketplace.git import Repository
from expert_system.marketplace.index_entry import IndexEntry, read_entry
from expert_system.marketplace.placing import write_file
from expert_system.marketplace.resolve import Candidate, Rules
from expert_system.marketplace.sources import FollowedIndex

__all__ = ["Index", "IndexCatalogue", "tuf_keys"]

MAX_INDEX_BYTES = 64 * 1024 * 1024
"""All files of one folder of an index."""
METADATA, TARGETS, EXPERTS = "metadata", "targets", "experts/"
_HERE = "git://index/"
"""Stands before every path that python-tuf asks for; nothing is looked up under it."""


class IndexCatalogue:
    """The verified entries of one index."""

    def __init__(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Keep entries as they were verified; each is parsed when it is asked for."""
        self._entries = {entry["name"]: entry for entry in entries}
        self._parsed: dict[str, IndexEntry] = {}
        self._candidates: dict[str, list[Candidate]] = {}

    def versions(self, name: str) -> Sequence[Candidate]:
        """Every version of an expert."""
        if name not in self._candidates:
            entry = self.entry(name)
            self._candidates[name] = entry.candidates() if entry else []
        return self._candidates[name]

    def rules(self, candidate: Candidate) -> Rules:
        """What a version needs of others."""
        entry = self.entry(candidate.name)
        found = next(v for v in entry.versions if v.version == candidate.version) if entry else None
        if found is None:
            return Rules()
        return Rules(requires=found.requires, incompatible_with=found.incompatible_with)

    def entry(self, name: str) -> IndexEntry | None:
        """What the index says of one expert."""
        raw = self._entries.get(name)
        if raw is not None and name not in self._parsed:
            self._parsed[name] = read_entry(json.dumps(raw).encode(), name)
        return self._parsed.get(name)

    def search(self, words: Sequence[str], capability: str | None = None) -> list[dict[str, Any]]:
        """Entries in which every word occurs, names first; yanked-only experts are hidden.

        Args:
            words: matched in name, description and capabilities, without regard to case.
            capability: must be one of the entry's, such as format:json.
        """
        lowered = [word.lower() for word in words]
        found: list[tuple[tuple[int, str], dict[str, Any]]] = []
        for entry in self._entries.values():
            text = f"{entry['name']} {entry['description']} {' '.join(entry['capabilities'])}".lower()
            shown = any(not version["yanked"] for version in entry["versions"])
            fits = capability is None or capability in entry["capabilities"]
            if shown and fits and all(word in text for word in lowered):
                in_name = sum(word in entry["name"] for word in lowered)
                found.append(((-in_name, entry["name"]), dict(entry)))
        return [entry for _, entry in sorted(found, key=lambda pair: pair[0])]


class Index:
    """One followed index, with what this node has verified of it."""

    def __init__(self, followed: FollowedIndex, *, mirrors: Path, folder: Path) -> None:
        """Name the index.

        Args:
            followed: its entry in sources.json.
            mirrors: the folder of bare mirrors.
            folder: where its verified metadata and catalogue are kept.
        """
        self.name = followed.name
        self._followed = followed
        self._repository = Repository(followed.location, mirrors)
        self._metadata = folder / "metadata"
        self._catalogue = folder / "catalogue.json"

    def refresh(self) -> IndexCatalogue:
        """Fetch and verify the index; the catalogue that was kept serves while its commit is the newest.

        Raises:
            SourceUnavailable: it cannot be reached.
            MarketplaceError: its metadata is not to be trusted, or has expired.
        """
        head = self._repository.refs().head
        if head is None:
            raise SourceUnavailable(f"index {self.name}: {self._followed.location} is empty")
        if not self._repository.has(head):
            head = self._repository.fetch("HEAD")
        kept = self._read_catalogue()
        if kept is not None and kept["commit"] == head:
            self._update_metadata(self._repository.read_folder(head, METADATA, MAX_INDEX_BYTES))
            return IndexCatalogue(kept["experts"])
        files = self._repository.read_folder(head, METADATA, MAX_INDEX_BYTES)
        updater = self._update_metadata(files)
        entries = self._verified_entries(updater, self._repository.read_folder(head, TARGETS, MAX_INDEX_BYTES))
        experts = [entry.model_dump(mode="json") for entry in entries]
        write_file(self._catalogue, json.dumps({"commit": head, "experts": experts}).encode())
        return IndexCatalogue(experts)

    def known(self) -> IndexCatalogue:
        """The catalogue as of the last refresh, for searching; empty before the first."""
        kept = self._read_catalogue()
        return IndexCatalogue(kept["experts"] if kept else [])

    def _update_metadata(self, files: Mapping[str, bytes]) -> Updater:
        self._metadata.mkdir(parents=True, exist_ok=True)
        try:
            updater = Updater(
                str(self._metadata),
                f"{_HERE}{METADATA}/",
                fetcher=_FromGit(files),
                config=UpdaterConfig(prefix_targets_with_hash=False),
                bootstrap=self._root(files),
            )
            updater.refresh()
        except ExpiredMetadataError as error:
            raise MarketplaceError(
                f"index {self.name} has expired ({error}): its owner must run `expert-cli marketplace refresh`, or this "
                "machine's clock is wrong; installed experts go on working, updates through this index stop"
            ) from None
        except (RepositoryError, DownloadError, OSError, ValueError) as error:
            raise MarketplaceError(
                f"index {self.name} cannot be trusted: {type(error).__name__}: {error}; nothing of it was used"
            ) from None
        return updater

    def _root(self, files: Mapping[str, bytes]) -> bytes | None:
        """The first root, which must be the one that the index's owner handed over; later ones follow from it."""
        if (self._metadata / "root.json").exists():
            return None
        for path, data in files.items():
            if path.endswith("root.json") and hashlib.sha256(data).hexdigest() == self._followed.root_sha256:
                return data
        raise MarketplaceError(
            f"index {self.name}: no root metadata there has sha256 {self._followed.root_sha256}; ask its owner for the value"
        )

    def _verified_entries(self, updater: Updater, files: Mapping[str, bytes]) -> list[IndexEntry]:
        listed = Metadata[Targets].from_file(str(self._metadata / "targets.json")).signed.targets
        entries: list[IndexEntry] = []
        for path in sorted(listed):
            target = updater.get_targetinfo(path)
            data = files.get(f"{TARGETS}/{path}")
            if target is None or data is None:
                raise MarketplaceError(f"index {self.name} lists {path} but does not hold it; nothing of it was used")
            try:
                target.verify_length_and_hashes(data)
            except RepositoryError as error:
                raise MarketplaceError(f"index {self.name}: {path}: {error}; nothing of it was used") from None
            if path.startswith(EXPERTS):
                entry = read_entry(data, f"index {self.name}: {path}")
                if path != f"{EXPERTS}{entry.name}.json":
                    raise MarketplaceError(f"index {self.name}: {path} speaks of {entry.name}")
                entries.append(entry)
        return entries

    def _read_catalogue(self) -> dict[str, Any] | None:
        try:
            values = json.loads(self._catalogue.read_bytes())
        except (OSError, ValueError):
            return None
        return values if isinstance(values, dict) else None


class _FromGit(FetcherInterface):
    """Gives python-tuf the files of a commit's tree."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = url.removeprefix(_HERE)
        if path not in self._files:
            raise DownloadHTTPError(f"the index has no {path}", 404)
        return iter([self._files[path]])

"""What can be installed from the sources of this node: the catalogue that resolution asks.

    sources.json + indexes + the store -> versions of a name -> their rules

Promise: the rules of a version from a direct repository are read only after it has passed verification; each version
is fetched at most once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from semantic_version import Version

from expert_system.domain import Digest
from expert_system.errors import MarketplaceError, SourceUnavailable
from expert_system.marketplace.resolve import Candidate, Catalogue, Requirement, Rules
from expert_system.marketplace.sources import Source
from expert_system.marketplace.staging import Staging, is_archive, is_plain_folder
from expert_system.marketplace.state import Status
from expert_system.marketplace.store import Store
from expert_system.marketplace.trust import Trust, moment, read_trust
from expert_system.marketplace.verify import Fetched, Node, VerifiedPackage, verify
from expert_system.package.base import BaseDescription
from expert_system.package.manifest import Manifest

_VERSION_TAG = re.compile(r"v(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})")


class Market:
    """Candidates from direct repositories first, then from indexes."""

    def __init__(
        self,
        store: Store,
        staging: Staging,
        *,
        locations: Mapping[str, Source],
        indexes: Sequence[Catalogue] = (),
        allow_downgrade: bool = False,
    ) -> None:
        """Join the parts.

        Args:
            store: what is installed already, and what was ever accepted.
            staging: where fetched packages lie until they are installed.
            locations: where direct repositories of named experts are.
            indexes: verified marketplace indexes.
            allow_downgrade: let 4.7 pass.
        """
        self._store = store
        self._staging = staging
        self._locations = dict(locations)
        self._indexes = tuple(indexes)
        self._allow_downgrade = allow_downgrade
        self._trust: Trust = read_trust(store.home.trust)
        self._bases: list[BaseDescription] = store.home.installed_bases()
        self._versions: dict[str, Sequence[Candidate]] = {}
        self._verified: dict[Candidate, VerifiedPackage] = {}
        self._rules: dict[Candidate, Rules] = {}

    @property
    def bases(self) -> frozenset[str]:
        """The digests of this node's bases."""
        return frozenset(base.binding for base in self._bases)

    def probe(self, source: Source) -> str:
        """The name of the expert at a location that nobody has named yet; remembers where it is.

        Raises:
            SourceUnavailable: nothing there fits the range.
            VerificationError: what is there is not to be trusted.
        """
        found = self._at_location("", source)
        within = [c for c in found if Requirement(name="", range=source.range).allows(c.version)]
        if not within:
            raise SourceUnavailable(f"{source.location} has no version tag vX.Y.Z within {source.range}")
        best = max(within, key=lambda candidate: Version(candidate.version))
        package = self.package(best)
        name = package.manifest.name
        self._locations[name] = source
        self._versions[name] = [replace(candidate, name=name) for candidate in found]
        self._verified[replace(best, name=name)] = package
        return name

    def versions(self, name: str) -> Sequence[Candidate]:
        """Every version of an expert that could be installed; without any source, what is installed."""
        if name not in self._versions:
            source = self._locations.get(name)
            found = self._at_location(name, source) if source is not None else []
            if not found:
                found = [candidate for index in self._indexes for candidate in index.versions(name)]
            self._versions[name] = found or self._installed(name)
        return self._versions[name]

    def rules(self, candidate: Candidate) -> Rules:
        """What it needs of others."""
        if candidate not in self._rules:
            self._rules[candidate] = self._find_rules(candidate)
        return self._rules[candidate]

    def package(self, candidate: Candidate) -> VerifiedPackage:
        """Fetch and verify one version.

        Raises:
            VerificationError: the step that refused it.
            SourceUnavailable: the source does not answer.
        """
        if candidate not in self._verified:
            package = self.check(self._staging.fetch(candidate))
            if candidate.name not in {"", package.manifest.name}:
                raise MarketplaceError(f"{candidate.source} holds {package.manifest.name}, not {candidate.name}")
            self._verified[candidate] = package
        return self._verified[candidate]

    def check(self, fetched: Fetched) -> VerifiedPackage:
        """Take what was fetched, or a folder as it is, through every verification step."""
        node = Node(
            trust=self._trust,
            bases=self._bases,
            accepted=self._store.accepted,
            now=moment(),
            allow_downgrade=self._allow_downgrade,
        )
        return verify(fetched, node)

    def stored(self, candidate: Candidate) -> Digest | None:
        """The digest of a candidate that is installed already: the same version from the same commit or with the same digest."""
        for record in self._store.records_of(candidate.name):
            same = record.commit_id is not None and record.commit_id == candidate.commit_id
            usable = record.verified and record.status is not Status.QUARANTINED
            if usable and record.version == candidate.version and (same or record.digest == candidate.digest):
                return record.digest
        return None

    def _find_rules(self, candidate: Candidate) -> Rules:
        for index in self._indexes:
            if candidate in index.versions(candidate.name):
                return index.rules(candidate)
        digest = self.stored(candidate)
        manifest = self._store.by_digest(digest).manifest if digest else self.package(candidate).manifest
        return rules_of(manifest)

    def _at_location(self, name: str, source: Source) -> list[Candidate]:
        """The versions at a location: a repository's tags, or the one that a folder, archive or commit holds."""
        location = source.location
        if source.commit_id is None and not is_archive(location) and not is_plain_folder(location):
            tags = self._staging.repository(location).refs().tags
            return [
                Candidate(name=name, version=tag[1:], source=location, tag=tag, commit_id=commit)
                for tag, commit in tags.items()
                if _VERSION_TAG.fullmatch(tag)
            ]
        unnamed = Candidate(name=name, version="", source=location, commit_id=source.commit_id)
        package = self.package(unnamed)
        candidate = replace(unnamed, version=package.manifest.version, digest=package.digest)
        self._verified[candidate] = package
        return [candidate]

    def _installed(self, name: str) -> list[Candidate]:
        """What is installed can satisfy a requirement when no source has it."""
        return [
            Candidate(
                name=name,
                version=record.version,
                source=record.source,
                tag=record.tag,
                commit_id=record.commit_id,
                digest=record.digest,
                keyid=record.keyid,
                yanked=record.yanked,
            )
            for record in self._store.records_of(name)
            if record.verified and record.status is not Status.QUARANTINED
        ]


def rules_of(manifest: Manifest) -> Rules:
    """What a manifest says of others."""
    composition = manifest.composition
    return Rules(requires=composition.requires, incompatible_with=composition.incompatible_with)

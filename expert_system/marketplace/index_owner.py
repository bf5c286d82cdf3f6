"""What the owner of an index does: make it, add versions, re-sign it, replace a key (formats.md 5.1).

    key -> root, targets, snapshot, timestamp -> files in a work tree, for the owner to commit and push

Promise: nothing is pushed from here; every version is taken through verification before it is listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp  # type: ignore[attr-defined]
from tuf.api.serialization.json import JSONSerializer

from expert_system.errors import ConfigError
from expert_system.marketplace.index_entry import IndexedBase, IndexedVersion, IndexEntry, read_entry
from expert_system.marketplace.market import Market
from expert_system.marketplace.placing import write_file
from expert_system.marketplace.sources import Source
from expert_system.marketplace.tuf_keys import IndexKey, IndexSigner
from expert_system.package.keys import SecretKey
from expert_system.package.statement import hash_file

ROOT_DAYS, TARGETS_DAYS, TIMESTAMP_DAYS = 365, 365, 30
"""Generous: an index must outlive its owner's holidays; a freeze is noticed after TIMESTAMP_DAYS."""
_ROLES = ("root", "targets", "snapshot", "timestamp")


class IndexWorkTree:
    """The files of an index in its owner's work tree."""

    def __init__(self, folder: Path, key: SecretKey, online_key: SecretKey | None = None) -> None:
        """Name the parts.

        Args:
            folder: the work tree.
            key: signs root and targets; stays offline.
            online_key: signs snapshot and timestamp, may re-sign unattended; the same key when None.
        """
        self._folder = folder
        self._key = IndexSigner(key)
        self._online = IndexSigner(online_key) if online_key else self._key

    def init(self) -> str:
        """Make an empty index; returns the sha256 of its root, which nodes need to follow it.

        Raises:
            ConfigError: there is an index already.
        """
        if (self._metadata / "root.json").exists():
            raise ConfigError(f"{self._folder} holds an index already")
        root = Root(expires=_in_days(ROOT_DAYS), consistent_snapshot=False)
        for role in _ROLES:
            root.add_key(self._signer(role).public_key, role)
        self._write("root", root, [self._key])
        self._write("targets", Targets(expires=_in_days(TARGETS_DAYS)), [self._key])
        self._write("snapshot", Snapshot(expires=_in_days(TARGETS_DAYS)), [self._online])
        self._write("timestamp", Timestamp(expires=_in_days(TIMESTAMP_DAYS)), [self._online])
        return self.root_sha256()

    def root_sha256(self) -> str:
        """The sha256 of the current root."""
        return hash_file(self._metadata / "root.json")

    def add_expert(self, market: Market, source: Source, *, yanked: Sequence[str] = ()) -> IndexEntry:
        """List every version of a repository that passes verification; versions listed before keep their place.

        Args:
            market: verifies, with the trust of the index's owner.
            source: the expert's repository, under the address that nodes will use.
            yanked: versions to withdraw.
        """
        name = market.probe(source)
        path = f"experts/{name}.json"
        file = self._folder / "targets" / path
        before = {v.version: v for v in read_entry(file.read_bytes(), path).versions} if file.exists() else {}
        versions: dict[str, IndexedVersion] = dict(before)
        newest = None
        for candidate in market.versions(name):
            package = market.package(candidate)
            manifest = newest = package.manifest
            assert candidate.tag is not None
            assert candidate.commit_id is not None
            versions[candidate.version] = IndexedVersion(
                version=candidate.version,
                tag=candidate.tag,
                commit=candidate.commit_id,
                digest=package.digest,
                keyid=package.keyid,
                requires=manifest.composition.requires,
                incompatible_with=manifest.composition.incompatible_with,
                base_models=tuple(
                    IndexedBase(name=base.name, base_digest=base.base_digest) for base in manifest.base_models
                ),
            )
        assert newest is not None
        ordered = sorted(versions.values(), key=lambda v: tuple(int(part) for part in v.version.split(".")))
        entry = IndexEntry(
            name=name,
            publisher=newest.publisher,
            repository=source.location,
            description=newest.description,
            capabilities=newest.capabilities,
            versions=tuple(v.model_copy(update={"yanked": v.yanked or v.version in yanked}) for v in ordered),
        )
        self.put_entries([entry])
        return entry

    def put_entries(self, entries: Sequence[IndexEntry]) -> None:
        """Write entries and sign everything that follows from them."""
        targets = self._read("targets", Targets)
        for entry in entries:
            path = f"experts/{entry.name}.json"
            data = entry.encode()
            write_file(self._folder / "targets" / path, data)
            targets.targets[path] = TargetFile.from_data(path, data)
        targets.expires = _in_days(TARGETS_DAYS)
        targets.version += 1
        self._write("targets", targets, [self._key])
        snapshot = self._read("snapshot", Snapshot)
        snapshot.meta["targets.json"] = MetaFile(version=targets.version)
        snapshot.expires = _in_days(TARGETS_DAYS)
        snapshot.version += 1
        self._write("snapshot", snapshot, [self._online])
        self.refresh()

    def refresh(self, days: float = TIMESTAMP_DAYS) -> str:
        """Sign the timestamp anew; needs only the online key. Returns when it expires."""
        timestamp = self._read("timestamp", Timestamp)
        timestamp.snapshot_meta = MetaFile(version=self._read("snapshot", Snapshot).version)
        timestamp.expires = _in_days(days)
        timestamp.version += 1
        self._write("timestamp", timestamp, [self._online])
        return str(timestamp.expires.isoformat())

    def rotate_key(self, new: SecretKey) -> None:
        """Replace the key in every role that it holds; the old key vouches for the new one."""
        root = self._read("root", Root)
        old = self._key.public_key.keyid
        for role in _ROLES:
            if old in root.roles[role].keyids:
                root.revoke_key(old, role)
                root.add_key(IndexKey.of(new.public), role)
        root.version += 1
        root.expires = _in_days(ROOT_DAYS)
        replacing = IndexSigner(new)
        self._write("root", root, [self._key, replacing])
        self._online = replacing if self._online is self._key else self._online
        self._key = replacing
        self.put_entries([])

    @property
    def _metadata(self) -> Path:
        return self._folder / "metadata"

    def _signer(self, role: str) -> IndexSigner:
        return self._key if role in {"root", "targets"} else self._online

    def _read(self, role: str, kind: Any) -> Any:
        try:
            return Metadata[kind].from_file(str(self._metadata / f"{role}.json")).signed
        except (RepositoryError, OSError) as error:
            raise ConfigError(
                f"{self._folder}: no readable index: {error}; run `expert-cli marketplace init`"
            ) from None

    def _write(self, role: str, signed: Any, signers: Sequence[IndexSigner]) -> None:
        metadata: Metadata[Any] = Metadata(signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        data = metadata.to_bytes(JSONSerializer(compact=False))
        write_file(self._metadata / f"{role}.json", data)
        if role == "root":
            write_file(self._metadata / f"{signed.version}.root.json", data)


def _in_days(days: float) -> datetime:
    return (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)

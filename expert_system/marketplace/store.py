"""The verified packages of this node, and the unverified ones that `install --dev` put beside them.

    folder -> checked -> store/sha256/<digest>/ + record -> StoredExpert

Promise: a package is found only when it is whole; it is never edited; two processes may use the store at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from filelock import FileLock, Timeout

from expert_system.domain import Digest, expert_name
from expert_system.errors import ExpertSystemError, IntegrityError, UnknownExpert, VerificationError
from expert_system.marketplace.derived import Derived
from expert_system.marketplace.home import Home
from expert_system.marketplace.leases import Leases
from expert_system.marketplace.placing import discard, place
from expert_system.marketplace.state import Composition, Record, State, Status
from expert_system.marketplace.verify import VerifiedPackage
from expert_system.package.check import check_package
from expert_system.package.envelope import Envelope
from expert_system.package.files import list_folder
from expert_system.package.manifest import read_manifest
from expert_system.package.statement import Flags, hash_files, make_statement, package_digest
from expert_system.package.stored import StoredExpert, open_stored

LOCK_TIMEOUT_S = 120.0
"""How long to wait for another process that works on the same expert."""


class StoreBusy(ExpertSystemError):
    """Another process holds the lock of this expert."""


class Store:
    """What is installed on this node."""

    def __init__(self, home: Path, *, dev: bool = False, hold: bool = False) -> None:
        """Open the store under `$EXPERT_HOME`.

        Args:
            home: `$EXPERT_HOME`; made when missing.
            dev: whether a bare name may mean an unverified expert while there is a verified one.
            hold: whether what this process finds is kept from `gc`, as a server needs it.
        """
        self.home = Home(home)
        self._dev = dev
        self._state = State(self.home.state)
        self._leases = Leases(self.home.locks)
        self._hold = hold
        self._opened: dict[Digest, StoredExpert] = {}
        self.derived = Derived(self.home, self._state)

    def close(self) -> None:
        """Let go of the records."""
        self._leases.close()
        self._state.close()

    def experts(self) -> list[StoredExpert]:
        """Every expert that can be named, by name and version; what turns out to be damaged is quarantined and left out."""
        found: list[StoredExpert] = []
        for record in sorted(self._current(self._state.records()), key=lambda r: (r.name, r.precedence)):
            try:
                found.append(self._open(record))
            except IntegrityError:
                continue
        return found

    def defaults(self) -> list[StoredExpert]:
        """What each bare name means now, by name; what turns out to be damaged is quarantined and left out."""
        found: list[StoredExpert] = []
        for _, records in groupby(sorted(self._state.records(), key=lambda r: r.name), key=lambda r: r.name):
            chosen = choose(list(records), None, dev=self._dev)
            try:
                found += [self._open(chosen)] if chosen is not None else []
            except (IntegrityError, UnknownExpert):
                continue
        return found

    def revision(self) -> tuple[int, int]:
        """Differs whenever anything was installed, removed, measured or marked since, by this process or another."""
        return self._state.revision()

    def note_composition(self, measured: Composition) -> None:
        """Remember what was measured of experts running together."""
        self._state.note_composition(measured)

    def harmful(self) -> dict[Digest, frozenset[frozenset[Digest]]]:
        """By base: the sets of experts that were measured to hurt one another on it."""
        found: dict[Digest, set[frozenset[Digest]]] = {}
        for measured in self._state.compositions():
            if measured.harmful:
                found.setdefault(measured.base, set()).add(measured.experts)
        return {base: frozenset(sets) for base, sets in found.items()}

    def find(self, name: str, version: str | None = None) -> StoredExpert:
        """The expert that a name means: this version, or the highest that was not yanked (formats.md 1.2).

        Raises:
            UnknownExpert: nothing of this name and version is installed.
            IntegrityError: it is installed, but its bytes changed; it is quarantined now.
        """
        full = expert_name(name)
        chosen = choose(self._state.named(full), version, dev=self._dev)
        if chosen is None:
            raise UnknownExpert(full, version)
        return self._used(chosen)

    def by_digest(self, digest: Digest) -> StoredExpert:
        """The stored package with this digest, replaced ones included.

        Raises:
            UnknownExpert: it is not stored, or quarantined.
            IntegrityError: its bytes changed.
        """
        record = self._state.get(digest)
        if record is None or record.status is Status.QUARANTINED:
            raise UnknownExpert(f"sha256:{digest}")
        return self._used(record)

    def records(self) -> list[Record]:
        """Every record, quarantined and replaced packages included."""
        return self._state.records()

    def records_of(self, name: str) -> list[Record]:
        """Every record of one expert."""
        return self._state.named(name)

    def record(self, digest: Digest) -> Record | None:
        """Where one package came from."""
        return self._state.get(digest)

    def accepted(self, name: str) -> dict[str, Digest]:
        """Every version of an expert that this node ever accepted, with its digest (4.7, 4.8)."""
        return self._state.accepted(name)

    def install(self, package: VerifiedPackage) -> StoredExpert:
        """Store a verified package and let its name mean it; other verified versions become replaced.

        Raises:
            VerificationError: another process accepted other bytes for this version meanwhile (4.8).
            PackageError: the fetched files changed under our hands.
        """
        stated = package.statement.predicate
        record = Record(
            digest=package.digest,
            name=stated.name,
            version=stated.version,
            verified=True,
            source=package.fetched.source,
            tag=package.fetched.tag,
            commit_id=package.fetched.commit_id,
            keyid=package.keyid,
            installed_at=now(),
        )
        with self.locked(stated.name):
            place(self.home, package.digest, package.fetched.root, package.statement.files, package.envelope.encode())
            with self._state.transaction():
                known = self._state.accepted(stated.name).get(stated.version)
                if known is not None and known != package.digest:
                    raise VerificationError(
                        "4.8", f"{stated.name}@{stated.version} was accepted as {known[:12]} meanwhile"
                    )
                self._state.accept(stated.name, stated.version, package.digest)
                self._state.put(record)
                self._make_current(record)
        return self._open(record)

    def make_current(self, digest: Digest) -> StoredExpert:
        """Let a name mean another stored package, as after `rollback`.

        Raises:
            UnknownExpert: it is not stored, or quarantined.
        """
        expert = self.by_digest(digest)
        record = self._state.get(digest)
        assert record is not None
        with self.locked(record.name), self._state.transaction():
            self._make_current(record)
        return expert

    def mark_yanked(self, digest: Digest, *, yanked: bool) -> None:
        """Note that a version was withdrawn; who has it locked keeps it (5.2)."""
        self._state.mark_yanked(digest, yanked=yanked)

    def install_dev(self, path: Path) -> StoredExpert:
        """Store a local folder as it is, marked unverified; replaces an earlier `--dev` install of the same version.

        Raises:
            PackageError, AdapterRefused: the folder is not an expert that could be served.
        """
        root = path.resolve()
        entries = list_folder(root)
        manifest = read_manifest(root)
        files = hash_files(root, entries)
        check_package(root, manifest, files, self.home.installed_bases())
        statement = make_statement(
            manifest, files, signed_at=manifest.created_at, flags=Flags(allow_unproven=True, dev=True)
        )
        payload = statement.payload()
        digest = package_digest(payload)
        with self.locked(manifest.name):
            place(self.home, digest, root, files, Envelope(payload=payload).encode())
            before = [r for r in self._state.named(manifest.name) if not r.verified and r.version == manifest.version]
            record = Record(
                digest=digest,
                name=manifest.name,
                version=manifest.version,
                verified=False,
                source=str(root),
                installed_at=now(),
            )
            with self._state.transaction():
                for old in before:
                    self._state.mark(old.digest, Status.REPLACED)
                self._state.put(record)
        return self._open(record)

    def uninstall(self, name: str, version: str | None = None) -> list[Record]:
        """Remove every version of an expert, or one of them; what was ever accepted stays remembered.

        Raises:
            UnknownExpert: nothing of this name and version is installed.
        """
        full = expert_name(name)
        with self.locked(full):
            gone = [record for record in self._state.named(full) if version in {None, record.version}]
            if not gone:
                raise UnknownExpert(full, version)
            for record in gone:
                self._remove(record)
        return gone

    def quarantine(self, digest: Digest) -> None:
        """Never load this package again; installing it anew, from signed bytes, lifts it."""
        self._state.mark(digest, Status.QUARANTINED)
        self._opened.pop(digest, None)

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Work on one expert while no other process does.

        Raises:
            StoreBusy: another process has held the lock for too long.
        """
        self.home.locks.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.home.locks / f"{name}.lock", timeout=LOCK_TIMEOUT_S):
                yield
        except Timeout:
            raise StoreBusy(f"another process has been working on {name} for {LOCK_TIMEOUT_S:g} s; try again") from None

    def remove_unless_used(self, record: Record) -> bool:
        """Forget a package and delete its files, unless some process uses it."""
        with self.locked(record.name), self._leases.unless_used(record.digest) as free:
            if free:
                self._remove(record)
        return free

    def _remove(self, record: Record) -> None:
        """The record first: a crash leaves a folder that nothing finds, which `gc` deletes."""
        self._state.remove(record.digest)
        self._opened.pop(record.digest, None)
        if self.home.package(record.digest).is_dir():
            discard(self.home, self.home.package(record.digest))

    def _make_current(self, record: Record) -> None:
        for other in self._state.named(record.name):
            if other.verified and other.digest != record.digest and other.status is Status.CURRENT:
                self._state.mark(other.digest, Status.REPLACED)
        self._state.mark(record.digest, Status.CURRENT)

    def _used(self, record: Record) -> StoredExpert:
        """Open what somebody asked for by name, and keep it from `gc` where that was wanted."""
        if self._hold:
            self._leases.touch(record.digest)
        return self._open(record)

    def _open(self, record: Record) -> StoredExpert:
        expert = self._opened.get(record.digest)
        if expert is None or expert.verified != record.verified:
            try:
                expert = open_stored(
                    self.home.package(record.digest), record.digest, verified=record.verified, on_damage=self.quarantine
                )
            except IntegrityError:
                if self._state.get(record.digest) is None:
                    raise UnknownExpert(record.name, record.version) from None
                self.quarantine(record.digest)
                raise
            self._opened[record.digest] = expert
        return expert

    def _current(self, records: Sequence[Record]) -> list[Record]:
        return [record for record in records if record.status is Status.CURRENT]


def choose(records: Sequence[Record], version: str | None, *, dev: bool) -> Record | None:
    """Which of an expert's records a name means.

    A named version is found even when yanked or replaced. A bare name is the current version, which is the locked one
    or else the highest that was not yanked; a yanked one only while nothing else is current. Unless `dev`, verified
    packages come before unverified ones. Of two with the same version, the one installed last counts.
    """
    usable = [record for record in records if record.status is not Status.QUARANTINED]
    if version is not None:
        wanted = [record for record in usable if record.version == version]
    else:
        current = [record for record in usable if record.status is Status.CURRENT]
        wanted = [record for record in current if not record.yanked] or current
    if not dev and any(record.verified for record in wanted):
        wanted = [record for record in wanted if record.verified]
    return max(wanted, key=lambda r: (r.precedence, r.status is Status.CURRENT, r.installed_at), default=None)


def now() -> str:
    """This moment as the formats write it, with microseconds where order matters."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

"""Looks after what is stored: re-checks every byte, and removes what nothing uses (formats.md 7.2)."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from expert_system.domain import expert_name
from expert_system.errors import IntegrityError, UnknownExpert, VerificationError
from expert_system.marketplace.git import Repository
from expert_system.marketplace.lock import read_lock
from expert_system.marketplace.placing import discard
from expert_system.marketplace.sources import Source, read_sources
from expert_system.marketplace.staging import is_archive, is_plain_folder
from expert_system.marketplace.state import Record, Status
from expert_system.marketplace.store import Store
from expert_system.marketplace.trust import moment, read_trust
from expert_system.marketplace.verify import (
    Node,
    step_1_shape,
    step_2_files,
    step_3_read_signature,
    step_3_signature,
    step_4_trust,
)
from expert_system.package.statement import package_digest

SETTLING_S = 600.0
"""How long a folder without a record may be one that another process is about to record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What re-checking one stored package found."""

    record: Record
    problem: VerificationError | None
    """None when every byte is the installed one and, for a verified package, its key is still trusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What `gc` did."""

    removed: tuple[Record, ...]
    in_use: tuple[Record, ...]
    """Not needed any more, but some process uses them now."""
    folders: int
    """Leftovers of killed processes, and mirrors that nothing follows."""


def recheck(store: Store, name: str | None = None) -> list[Finding]:
    """Hash every byte of every stored package, or of one expert's; what is damaged is quarantined.

    Raises:
        UnknownExpert: nothing of this name is stored.
    """
    records = store.records_of(expert_name(name)) if name else store.records()
    if name and not records:
        raise UnknownExpert(expert_name(name))
    node = Node(trust=read_trust(store.home.trust), bases=(), accepted=store.accepted, now=moment())
    findings = [
        Finding(record=record, problem=_problem(store.home.package(record.digest), record, node)) for record in records
    ]
    for finding in findings:
        if finding.problem is not None and finding.problem.step not in {"4.3", "4.4"}:
            store.quarantine(finding.record.digest)
    return findings


def collect(store: Store, *, lock: Path | None = None, dry_run: bool = False) -> Collected:
    """Remove packages that are neither current, nor locked, nor in use, and what killed processes left behind.

    Args:
        store: the store.
        lock: its lock file, when it is not the usual one.
        dry_run: only say what would go.
    """
    with store.locked("experts.lock"):
        locked = {entry.digest for entry in read_lock(lock or store.home.lock).experts}
        spare = [r for r in store.records() if r.status is not Status.CURRENT and r.digest not in locked]
        leftovers = [*_leftovers(store), *_unfollowed_mirrors(store, locked)]
        if dry_run:
            return Collected(removed=tuple(spare), in_use=(), folders=len(leftovers))
        gone = {record.digest for record in spare if store.remove_unless_used(record)}
        for folder in leftovers:
            if folder.parent == store.home.store:
                discard(store.home, folder)
            else:
                shutil.rmtree(folder, ignore_errors=True)
    return Collected(
        removed=tuple(record for record in spare if record.digest in gone),
        in_use=tuple(record for record in spare if record.digest not in gone),
        folders=len(leftovers),
    )


def _problem(folder: Path, record: Record, node: Node) -> VerificationError | None:
    try:
        entries = step_1_shape(folder)
        envelope, statement = step_3_read_signature(folder, entries)
        if package_digest(envelope.payload) != record.digest:
            raise VerificationError("4.2", f"signature.json of {record.digest[:12]} is not the installed one")
        step_2_files(folder, entries, statement)
        if record.verified:
            step_4_trust(envelope, step_3_signature(envelope, node.trust), statement, node)
    except VerificationError as error:
        return error
    except (IntegrityError, OSError) as error:
        return VerificationError("4.2", str(error))
    return None


def _leftovers(store: Store) -> Iterator[Path]:
    """Folders that no record names, and those of processes that are gone."""
    known = {record.digest for record in store.records()}
    if store.home.store.is_dir():
        oldest = time.time() - SETTLING_S
        yield from (f for f in store.home.store.iterdir() if f.name not in known and f.stat().st_ctime < oldest)
    if store.home.aside.is_dir():
        yield from (f for f in store.home.aside.iterdir() if not _is_running(f.name.partition(".")[0]))


def _unfollowed_mirrors(store: Store, locked: set[str]) -> Sequence[Path]:
    """Mirrors of repositories that nothing follows or has locked any more."""
    mirrors = store.home.repositories
    if not mirrors.is_dir():
        return []
    sources = read_sources(store.home.sources)
    locations = {entry.location for entry in sources.experts} | {index.location for index in sources.indexes}
    locations |= {record.source for record in store.records() if record.digest in locked}
    remote = [
        text for text in locations if not (Source(location=text).is_name or is_archive(text) or is_plain_folder(text))
    ]
    kept = {Repository(location, mirrors).mirror for location in remote}
    return [f for f in mirrors.iterdir() if f.is_dir() and f not in kept and not _is_running(f.name.partition(".")[0])]


def _is_running(text: str) -> bool:
    try:
        os.kill(int(text), 0)
    except (ValueError, ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True

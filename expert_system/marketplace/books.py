"""Pure steps between what is followed (sources.json), what is locked, and what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from expert_system.marketplace.lock import Lock, Locked
from expert_system.marketplace.sources import Source, SourcesFile, Wanted
from expert_system.marketplace.state import Record


def absolute(source: Source) -> Source:
    """A path means the same from wherever the next update is run."""
    path = Path(source.location).expanduser()
    return replace(source, location=str(path.resolve())) if not source.is_name and path.exists() else source


def wanted_from(name: str, source: Source, sources: SourcesFile) -> Wanted:
    """A bare name keeps following the repository that it is followed at already."""
    location = source.location
    if source.is_name:
        before = next((entry for entry in sources.experts if entry.name == name), None)
        location = before.location if before else name
    return Wanted(name=name, location=location, range=source.range, commit_id=source.commit_id)


def others(lock: Lock, asked_for: Sequence[Wanted]) -> dict[str, str]:
    """Locked versions of everything that was not asked for now."""
    asked = {entry.name for entry in asked_for}
    return {entry.name: entry.version for entry in lock.experts if entry.name not in asked}


def held_versions(sources: SourcesFile) -> dict[str, str]:
    """What `rollback` keeps where it is."""
    return {entry.name: entry.held for entry in sources.experts if entry.held is not None}


def lock_entry(record: Record | None) -> Locked:
    """What the lock says of a stored package."""
    assert record is not None, "what was just installed is recorded"
    assert record.keyid is not None, "only verified packages are locked"
    return Locked(
        name=record.name,
        version=record.version,
        source=record.source,
        tag=record.tag,
        commit=record.commit_id,
        digest=record.digest,
        keyid=record.keyid,
    )


def precedence(version: str) -> tuple[int, int, int]:
    """A version as numbers that sort as versions do."""
    major, minor, patch = (int(part) for part in version.split("."))
    return major, minor, patch

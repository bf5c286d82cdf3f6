"""The node's records in state.db: what is installed, and what was ever accepted (formats.md 7.1, 4.7, 4.8).

Promise: every change is one transaction; readers in other processes see the old state or the new one. All SQL is here.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from expert_system.domain import Digest

BUSY_TIMEOUT_S = 30.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS experts (
  digest       TEXT PRIMARY KEY,
  name         TEXT NOT NULL,
  version      TEXT NOT NULL,
  verified     INTEGER NOT NULL,
  status       TEXT NOT NULL,
  yanked       INTEGER NOT NULL DEFAULT 0,
  source       TEXT NOT NULL,
  tag          TEXT,
  commit_id    TEXT,
  keyid        TEXT,
  installed_at TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS experts_by_name ON experts (name);
CREATE TABLE IF NOT EXISTS accepted (
  name    TEXT NOT NULL,
  version TEXT NOT NULL,
  digest  TEXT NOT NULL,
  PRIMARY KEY (name, version)
) STRICT;
CREATE TABLE IF NOT EXISTS derived (
  path   TEXT PRIMARY KEY,
  sha256 TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS compositions (
  experts     TEXT NOT NULL,
  base        TEXT NOT NULL,
  worst_loss  REAL NOT NULL,
  harmful     INTEGER NOT NULL,
  measured_at TEXT NOT NULL,
  PRIMARY KEY (experts, base)
) STRICT;
"""
_COLUMNS = "digest, name, version, verified, status, yanked, source, tag, commit_id, keyid, installed_at"


class Status(StrEnum):
    """Where in its life a stored package is."""

    CURRENT = "current"
    """May be found by name."""
    REPLACED = "replaced"
    """An update took its place; kept until `gc` for what still uses it, and for `rollback`."""
    QUARANTINED = "quarantined"
    """Its bytes were not the installed ones; never loaded again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One stored package."""

    digest: Digest
    name: str
    version: str
    verified: bool
    status: Status = Status.CURRENT
    yanked: bool = False
    source: str
    """The repository it came from; a path for `--dev`."""
    tag: str | None = None
    commit_id: str | None = None
    keyid: str | None = None
    installed_at: str

    @property
    def precedence(self) -> tuple[int, int, int]:
        """The version as numbers that sort as versions do."""
        major, minor, patch = (int(part) for part in self.version.split("."))
        return major, minor, patch


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """What was measured of experts running together on one base, in pairs or more."""

    experts: frozenset[Digest]
    base: Digest
    worst_loss: float
    """Largest drop of a member's own score from alone to together, in points of 0 to 1; below 0 when all gained."""
    harmful: bool
    """Whether that is over the threshold of the measurement; the router does not combine them then."""
    measured_at: str

    @property
    def key(self) -> str:
        """The sorted digests, as the table has them."""
        return " ".join(sorted(self.experts))


class State:
    """The records, shared by every thread of this process and with other processes."""

    def __init__(self, file: Path) -> None:
        """Open or create the database."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self._guard = threading.RLock()
        self._database = sqlite3.connect(
            file, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=32
        )
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Let go of the database."""
        with self._guard:
            self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the changes inside one atomic, durable step."""
        with self._guard:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def put(self, record: Record) -> None:
        """Add a package, or overwrite its record."""
        with self._guard:
            self._database.execute(
                f"INSERT OR REPLACE INTO experts ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constant
                (
                    record.digest,
                    record.name,
                    record.version,
                    int(record.verified),
                    record.status,
                    int(record.yanked),
                    record.source,
                    record.tag,
                    record.commit_id,
                    record.keyid,
                    record.installed_at,
                ),
            )

    def mark(self, digest: Digest, status: Status) -> None:
        """Change where in its life a package is."""
        with self._guard:
            self._database.execute("UPDATE experts SET status = ? WHERE digest = ?", (status, digest))

    def mark_yanked(self, digest: Digest, *, yanked: bool) -> None:
        """Note that its publisher withdrew a version, or took that back."""
        with self._guard:
            self._database.execute("UPDATE experts SET yanked = ? WHERE digest = ?", (int(yanked), digest))

    def remove(self, digest: Digest) -> None:
        """Forget a package; what was ever accepted stays known."""
        with self._guard:
            self._database.execute("DELETE FROM experts WHERE digest = ?", (digest,))

    def records(self) -> list[Record]:
        """Every package, by name and age."""
        return self._select("ORDER BY name, installed_at, digest")

    def named(self, name: str) -> list[Record]:
        """Every package of one expert."""
        return self._select("WHERE name = ? ORDER BY installed_at, digest", name)

    def get(self, digest: Digest) -> Record | None:
        """The record of one package."""
        found = self._select("WHERE digest = ?", digest)
        return found[0] if found else None

    def accept(self, name: str, version: str, digest: Digest) -> None:
        """Remember for ever that this version of an expert has this digest."""
        with self._guard:
            self._database.execute("INSERT OR IGNORE INTO accepted VALUES (?, ?, ?)", (name, version, digest))

    def accepted(self, name: str) -> dict[str, Digest]:
        """Every version of an expert that was ever accepted, and its digest."""
        with self._guard:
            rows = self._database.execute("SELECT version, digest FROM accepted WHERE name = ?", (name,)).fetchall()
        return {version: Digest(digest) for version, digest in rows}

    def note_derived(self, path: str, sha256: str) -> None:
        """Remember what a file of `derived/` must hash to."""
        with self._guard:
            self._database.execute("INSERT OR REPLACE INTO derived VALUES (?, ?)", (path, sha256))

    def derived_sha256(self, path: str) -> str | None:
        """What a file of `derived/` must hash to; None when it was never written."""
        with self._guard:
            row = self._database.execute("SELECT sha256 FROM derived WHERE path = ?", (path,)).fetchone()
        return None if row is None else str(row[0])

    def note_composition(self, measured: Composition) -> None:
        """Remember what was measured of a set; a later measurement of the same set and base replaces it."""
        with self._guard:
            self._database.execute(
                "INSERT OR REPLACE INTO compositions VALUES (?, ?, ?, ?, ?)",
                (measured.key, measured.base, measured.worst_loss, int(measured.harmful), measured.measured_at),
            )

    def compositions(self) -> list[Composition]:
        """Everything that was measured of sets, on any base."""
        with self._guard:
            rows = self._database.execute("SELECT * FROM compositions ORDER BY experts, base").fetchall()
        return [
            Composition(
                experts=frozenset(Digest(digest) for digest in row[0].split()),
                base=Digest(row[1]),
                worst_loss=row[2],
                harmful=bool(row[3]),
                measured_at=row[4],
            )
            for row in rows
        ]

    def revision(self) -> tuple[int, int]:
        """Differs whenever this or another process has changed a record since; takes microseconds."""
        with self._guard:
            (others,) = self._database.execute("PRAGMA data_version").fetchone()
            return int(others), self._database.total_changes

    def _select(self, condition: str, *values: str) -> list[Record]:
        with self._guard:
            rows = self._database.execute(f"SELECT {_COLUMNS} FROM experts {condition}", values).fetchall()  # noqa: S608
        return [
            Record(
                digest=Digest(row[0]),
                name=row[1],
                version=row[2],
                verified=bool(row[3]),
                status=Status(row[4]),
                yanked=bool(row[5]),
                source=row[6],
                tag=row[7],
                commit_id=row[8],
                keyid=row[9],
                installed_at=row[10],
            )
            for row in rows
        ]

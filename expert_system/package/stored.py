"""What the rest of the system knows of one expert in this node's store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from expert_system.domain import Digest
from expert_system.package.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredExpert:
    """One stored expert: named by its digest, read-only, never edited in place."""

    digest: Digest
    path: Path
    """The unpacked package, `$EXPERT_HOME/store/sha256/<digest>/`."""
    manifest: Manifest
    verified: bool
    """False for `install --dev`; only a server started with `--dev` loads it."""

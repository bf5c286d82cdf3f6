"""Where everything of this node lives: the layout of `$EXPERT_HOME` (formats.md 7.1)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from expert_system.domain import Digest
from expert_system.errors import ConfigError
from expert_system.package.base import BaseDescription, describe_base


@dataclass(frozen=True, slots=True)
class Home:
    """The folders and files below `$EXPERT_HOME`."""

    root: Path

    @property
    def bases(self) -> Path:
        """Base models, one folder each."""
        return self.root / "bases"

    @property
    def store(self) -> Path:
        """Packages, named by digest."""
        return self.root / "store" / "sha256"

    @property
    def aside(self) -> Path:
        """Where packages are written before they are renamed into the store; on the same file system."""
        return self.root / "store" / "aside"

    @property
    def locks(self) -> Path:
        """One lock file for each expert's name, and one lease file for each digest in use."""
        return self.root / "locks"

    @property
    def state(self) -> Path:
        """The records of what is installed."""
        return self.root / "state.db"

    @property
    def trust(self) -> Path:
        """The keys that this node trusts."""
        return self.root / "trust.json"

    @property
    def sources(self) -> Path:
        """The repositories and indexes that this node follows."""
        return self.root / "sources.json"

    @property
    def lock(self) -> Path:
        """The default place of experts.lock."""
        return self.root / "experts.lock"

    @property
    def repositories(self) -> Path:
        """Bare mirrors of what was fetched."""
        return self.root / "repos"

    @property
    def indexes(self) -> Path:
        """Verified metadata and catalogues of the followed indexes, one folder each."""
        return self.root / "indexes"

    def package(self, digest: Digest) -> Path:
        """The folder of one stored package."""
        return self.store / digest

    def installed_bases(self) -> list[BaseDescription]:
        """Every base under `bases/` that can be described; what is no base is left out."""
        found: list[BaseDescription] = []
        folders = sorted(self.bases.iterdir()) if self.bases.is_dir() else []
        for folder in folders:
            if folder.is_dir() and not folder.name.startswith("."):
                try:
                    found.append(describe_base(folder))
                except ConfigError:
                    continue
        return found

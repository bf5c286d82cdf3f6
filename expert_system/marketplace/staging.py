"""Brings one version of an expert from its source into a folder beside the store, believing nothing of it.

    repository at a tag or commit | archive | folder -> aside/<pid>.staging.<random>/… -> Fetched

Promise: what is left over by a killed process is known by that process's id and removed by `gc`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from expert_system.domain import Digest
from expert_system.errors import SourceUnavailable, VerificationError
from expert_system.marketplace.git import Repository
from expert_system.marketplace.home import Home
from expert_system.marketplace.resolve import Candidate
from expert_system.marketplace.verify import Fetched
from expert_system.package.archive import SUFFIX, unpack
from expert_system.package.manifest import MANIFEST_FILE


class Staging:
    """A place for fetched packages, gone when the work is over; use it as a context manager."""

    def __init__(self, home: Home) -> None:
        """Name the node; nothing is made yet."""
        self._home = home
        self._root: Path | None = None

    def __enter__(self) -> Self:
        self._home.aside.mkdir(parents=True, exist_ok=True)
        self._root = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}.staging.", dir=self._home.aside))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._root is not None
        shutil.rmtree(self._root, ignore_errors=True)

    def repository(self, location: str) -> Repository:
        """The repository behind a location, with its mirror on this node."""
        return Repository(location, self._home.repositories)

    def fetch(self, candidate: Candidate) -> Fetched:
        """Fetch one version; its tag, commit and digest are those that the candidate names.

        Raises:
            SourceUnavailable: the source does not answer, or has no such version.
            VerificationError: the tag points to another commit than the lock or the index says (4.8).
        """
        if is_archive(candidate.source):
            folder = self._folder()
            unpack(Path(candidate.source).expanduser(), folder)
        elif is_plain_folder(candidate.source):
            folder = Path(candidate.source).expanduser().resolve()
        else:
            folder = self._from_git(candidate)
        return Fetched(
            root=folder,
            source=candidate.source,
            tag=candidate.tag,
            commit_id=candidate.commit_id,
            digest=Digest(candidate.digest) if candidate.digest else None,
        )

    def _from_git(self, candidate: Candidate) -> Path:
        repository = self.repository(candidate.source)
        commit = candidate.commit_id
        if commit is None or not repository.has(commit):
            if candidate.tag is not None:
                found = repository.fetch(f"refs/tags/{candidate.tag}")
                if commit is not None and found != commit:
                    raise VerificationError(
                        "4.8",
                        f"tag {candidate.tag} of {candidate.source} is at {found[:12]}, not {commit[:12]}; it was moved",
                    )
                commit = found
            elif commit is not None:
                repository.fetch_commit(commit)
            else:
                raise SourceUnavailable(f"{candidate.source}: neither a tag nor a commit to fetch")
        folder = self._folder()
        repository.unpack(commit, folder)
        return folder

    def _folder(self) -> Path:
        assert self._root is not None
        return Path(tempfile.mkdtemp(dir=self._root))


def is_archive(location: str) -> bool:
    """Whether a location is a .expert file."""
    return location.endswith(SUFFIX) and Path(location).expanduser().is_file()


def is_plain_folder(location: str) -> bool:
    """Whether a location is a package's folder that is no git repository of its own."""
    path = Path(location).expanduser()
    return (path / MANIFEST_FILE).is_file() and not (path / ".git").exists()

"""Repositories over https, ssh, git and from disk, through Dulwich; bounded while fetching (formats.md 5.3).

    URL -> tags and their commits -> one commit at depth 1 -> bare mirror -> tree -> checked -> folder

Promise: nothing of a repository is ever executed, hooks and submodules are ignored, and no source can make this node
hold more than the limits. What comes out is not believed: `verify` decides.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import urllib3
from dulwich.client import (
    GitClient,
    HTTPUnauthorized,
    LocalGitClient,
    StrangeHostname,
    get_transport_and_path,
)
from dulwich.errors import GitProtocolError, NotGitRepository, ObjectFormatException
from dulwich.object_store import BaseObjectStore
from dulwich.objects import Blob, Commit, ObjectID, Tag, Tree
from dulwich.repo import Repo

from expert_system.errors import PackageError, SourceUnavailable
from expert_system.marketplace.bounded import MAX_REFS_BYTES, Activity, BoundedPool, Sink
from expert_system.marketplace.packscan import PackLimits, scan_pack
from expert_system.package.files import MAX_FILE_BYTES, MAX_PACKAGE_BYTES, Entry, EntryKind, check_entries

MAX_TREES = 2_000
MAX_TAG_CHAIN = 8
ONE_COMMIT = PackLimits(
    pack=MAX_PACKAGE_BYTES + 16 * 2**20, object=MAX_FILE_BYTES, total=MAX_PACKAGE_BYTES + 16 * 2**20
)
WHOLE_HISTORY = PackLimits(pack=2 * 2**30, object=MAX_FILE_BYTES, total=4 * 2**30, count=200_000)
_TAGS = b"refs/tags/"
_PEELED = b"^{}"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_MODES = {0o100644: EntryKind.FILE, 0o100664: EntryKind.FILE, 0o100755: EntryKind.FILE, 0o120000: EntryKind.SYMLINK}
_SUBMODULE, _FOLDER = 0o160000, 0o040000
_BROKEN = (
    GitProtocolError,
    HTTPUnauthorized,
    NotGitRepository,
    ObjectFormatException,
    StrangeHostname,
    urllib3.exceptions.HTTPError,
    OSError,
    ValueError,
    KeyError,
    AssertionError,
    EOFError,
)
"""What Dulwich and its transports raise over a source that is unreachable or serves nonsense."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteRefs:
    """What a source says it has."""

    head: str | None
    """The commit of its default branch."""
    tags: dict[str, str]
    """Each tag and the commit it points to."""


class Repository:
    """One source, and its bare mirror on this node."""

    def __init__(self, url: str, mirrors: Path) -> None:
        """Name a source; nothing is contacted yet.

        Args:
            url: https://, ssh://, file://, a local path; http:// and git:// to this machine only.
            mirrors: the folder of the bare mirrors.

        Raises:
            SourceUnavailable: the URL is of no kind that is served.
        """
        check_url(url)
        self.url = url
        self.mirror = mirrors / f"{hashlib.sha256(url.encode()).hexdigest()[:24]}.git"

    def refs(self) -> RemoteRefs:
        """Ask the source for its tags and its default branch."""
        with _errors_of(self.url), _client(self.url, MAX_REFS_BYTES) as (client, path):
            found = dict(client.get_refs(path.encode()).refs)
            if isinstance(client, LocalGitClient):
                found |= _peeled_on_disk(path, found)
        tags = {name[len(_TAGS) :]: sha for name, sha in found.items() if name.startswith(_TAGS) and sha}
        plain = {name: sha for name, sha in tags.items() if not name.endswith(_PEELED)}
        head = found.get(b"HEAD")  # type: ignore[call-overload]
        return RemoteRefs(
            head=head.decode() if head else None,
            tags={
                name.decode("utf-8", "replace"): tags.get(name + _PEELED, sha).decode() for name, sha in plain.items()
            },
        )

    def fetch(self, ref: str) -> str:
        """Bring one reference (`HEAD` or `refs/tags/…`) into the mirror at depth 1; returns its commit."""
        wanted = ref.encode()

        def wants(refs: dict[bytes, bytes], depth: int | None = None) -> list[bytes]:
            if wanted not in refs:
                raise SourceUnavailable(f"{self.url} has no {ref}")
            return [refs[wanted]]

        with _errors_of(self.url):
            refs = self._fetch(wants, ONE_COMMIT, depth=1)
            with self._mirror() as repo:
                return _peel(repo.object_store, refs[wanted]).id.decode()

    def fetch_commit(self, commit: str) -> str:
        """Bring one commit into the mirror; servers refuse commits by name, so this fetches the bounded history."""
        with _errors_of(self.url):
            if not self.has(commit):
                self._fetch(lambda refs, depth=None: sorted(set(refs.values())), WHOLE_HISTORY, depth=None)
            if not self.has(commit):
                raise SourceUnavailable(f"{self.url} has no commit {commit} on any branch or tag")
            return commit

    def has(self, commit: str) -> bool:
        """Whether the mirror holds a commit with its whole tree."""
        if not self.mirror.is_dir():
            return False
        try:
            with _errors_of(self.url), self._mirror() as repo:
                store = repo.object_store
                return all(ObjectID(sha) in store for _, _, sha in _walk(store, _peel(store, commit.encode()).tree))
        except (SourceUnavailable, PackageError):
            return False

    def unpack(self, commit: str, folder: Path) -> None:
        """Write a commit's tree into an empty folder, once every name, kind and size in it has passed (2.3).

        Raises:
            PackageError: the tree breaks a rule of 2.3.
        """
        with _errors_of(self.url), self._mirror() as repo:
            store = repo.object_store
            tree = _peel(store, commit.encode()).tree
            check_entries(_entry(store, path, mode, sha) for path, mode, sha in _walk(store, tree))
            for path, _, sha in _walk(store, tree):
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(_blob(store, sha).data)

    def read_folder(self, commit: str, below: str, limit_bytes: int) -> dict[str, bytes]:
        """The files of one folder of a commit's tree, by path; an index is read this way.

        Raises:
            SourceUnavailable: they are larger than the limit in all.
        """
        with _errors_of(self.url), self._mirror() as repo:
            store = repo.object_store
            files: dict[str, bytes] = {}
            total = 0
            for path, _, sha in _walk(store, _peel(store, commit.encode()).tree):
                if path.startswith(f"{below}/"):
                    files[path] = _blob(store, sha).data
                    total += len(files[path])
                    if total > limit_bytes:
                        raise SourceUnavailable(f"{self.url}: {below}/ holds more than {limit_bytes} bytes")
            return files

    def remove_mirror(self) -> None:
        """Delete the mirror; the next fetch makes it again."""
        shutil.rmtree(self.mirror, ignore_errors=True)

    def _fetch(self, wants: Callable[..., list[bytes]], limits: PackLimits, depth: int | None) -> dict[bytes, bytes]:
        """Fetch into a file, measure it, and only then let the mirror have it."""
        self.mirror.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.mirror.parent) as aside, _client(self.url, limits.pack) as (client, path):
            sink = Sink(aside, limits.pack, self.url)
            asked: dict[bytes, bytes] = {}

            def determine(refs: dict[bytes, bytes], depth: int | None = None) -> list[bytes]:
                if getattr(client, "dumb", False):
                    raise SourceUnavailable(f"{self.url} is a plain file server, not a git server")
                asked.update(refs)
                return wants({name: sha for name, sha in refs.items() if not name.endswith(_PEELED)})

            client.fetch_pack(path.encode(), determine, _NothingHere(), sink.write, depth=depth, protocol_version=0)  # type: ignore[arg-type]
            if aside.tell():
                aside.seek(0)
                scan_pack(aside, limits)
                aside.seek(0)
                with self._mirror() as repo:
                    _keep(repo, aside)
        return asked

    @contextmanager
    def _mirror(self) -> Iterator[Repo]:
        if not self.mirror.is_dir():
            aside = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}.new.", dir=self.mirror.parent))
            Repo.init_bare(str(aside)).close()
            try:
                aside.rename(self.mirror)
            except OSError:
                shutil.rmtree(aside, ignore_errors=True)
        with Repo(str(self.mirror), bare=True) as repo:
            yield repo


def check_url(url: str) -> None:
    """Refuse a URL of a kind that is not served.

    Raises:
        SourceUnavailable: the message lists the kinds.
    """
    scheme = urlsplit(url).scheme if "://" in url else ""
    if scheme in {"https", "ssh", "file", ""}:
        return
    if scheme in {"http", "git"} and urlsplit(url).hostname in _LOOPBACK:
        return
    raise SourceUnavailable(
        f"{url}: sources are https://, ssh://, file:// or a local path; plain {scheme}:// only to this machine"
    )


@contextmanager
def _client(url: str, limit_bytes: int) -> Iterator[tuple[GitClient, str]]:
    """A client that stops reading at the limit."""
    activity = Activity(url, limit_bytes)
    pool = BoundedPool(activity) if url.startswith(("https://", "http://")) else None
    client, path = get_transport_and_path(url, quiet=True, report_activity=activity.report, pool_manager=pool)
    try:
        yield client, path
    finally:
        client.close()


class _NothingHere:
    """A graph walker that has no commits, so that a source sends whole trees."""

    def __init__(self) -> None:
        self.shallow: set[bytes] = set()
        self.unshallow: set[bytes] = set()

    def __next__(self) -> None:
        return None

    def ack(self, sha: bytes) -> None:
        """Never called with anything of ours."""

    def nak(self) -> None:
        """The source has nothing in common with us."""


def _peeled_on_disk(path: str, refs: Mapping[Any, ObjectID | None]) -> dict[Any, ObjectID | None]:
    """What a server would add: the commit of each tag under `<tag>^{}`."""
    with Repo(path) as repo:
        return {name + _PEELED: repo.get_peeled(name) for name in refs if name.startswith(_TAGS)}


def _keep(repo: Repo, pack: BinaryIO) -> None:
    file, commit, abort = repo.object_store.add_pack()
    try:
        shutil.copyfileobj(pack, file)
    except BaseException:
        abort()
        raise
    commit()


def _peel(store: BaseObjectStore, sha: bytes) -> Commit:
    """Follow annotated tags to their commit."""
    found = store[ObjectID(sha)]
    for _ in range(MAX_TAG_CHAIN):
        if not isinstance(found, Tag):
            break
        found = store[found.object[1]]
    if not isinstance(found, Commit):
        raise SourceUnavailable(f"{sha.decode()} is not a commit")
    return found


def _walk(store: BaseObjectStore, tree: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Every (path, mode, id) of a tree but submodules; a tree that repeats itself cannot make this run long."""
    waiting = [("", tree)]
    for _ in range(MAX_TREES):
        if not waiting:
            return
        below, sha = waiting.pop()
        found = store[ObjectID(sha)]
        if not isinstance(found, Tree):
            raise SourceUnavailable(f"{sha.decode()} is not a tree")
        for name, mode, child in found.iteritems():
            path = below + _text(name)
            if mode == _FOLDER:
                waiting.append((f"{path}/", child))
            elif mode != _SUBMODULE:
                yield path, mode, child
    raise PackageError(f"more than {MAX_TREES} folders")


def _text(name: bytes) -> str:
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        raise PackageError(f"{name!r}: the name is not UTF-8") from None


def _entry(store: BaseObjectStore, path: str, mode: int, sha: bytes) -> Entry:
    return Entry(
        path=path,
        kind=_MODES.get(mode, EntryKind.OTHER),
        size_bytes=_blob(store, sha).raw_length(),
        executable=mode == 0o100755,
    )


def _blob(store: BaseObjectStore, sha: bytes) -> Blob:
    found = store[ObjectID(sha)]
    if not isinstance(found, Blob):
        raise SourceUnavailable(f"{sha.decode()} is not a file")
    return found


@contextmanager
def _errors_of(url: str) -> Iterator[None]:
    """Turn what Dulwich raises into our own error, with the source's name."""
    try:
        yield
    except (SourceUnavailable, PackageError):
        raise
    except _BROKEN as error:
        raise SourceUnavailable(
            f"{url}: {type(error).__name__}: {str(error)[:300]}; check the address and the network"
        ) from error

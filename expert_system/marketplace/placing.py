"""Puts a package's folder into the store: written aside, made durable, renamed (formats.md 7.1).

    source folder + expected sha256 of each file -> aside/<digest>.<random>/ -> store/sha256/<digest>/

Promise: a crash at any moment leaves no folder under the digest, or the whole one; every byte was hashed as it was copied.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from io import BufferedWriter
from pathlib import Path

from expert_system.domain import Digest
from expert_system.errors import PackageError
from expert_system.marketplace.home import Home
from expert_system.package.files import SIGNATURE_FILE

CHUNK_BYTES = 1024 * 1024
FILE_MODE = 0o444
FOLDER_MODE = 0o755


def place(home: Home, digest: Digest, source: Path, files: Mapping[str, str], envelope: bytes) -> Path:
    """Copy a checked package into the store, unless the same content is there already.

    Args:
        home: this node's folders.
        digest: the package's digest.
        source: the folder to copy from.
        files: each path to copy and the sha256 it must have.
        envelope: the content of signature.json.

    Raises:
        PackageError: a file changed since it was checked.
    """
    target = home.package(digest)
    if target.is_dir() and _is_whole(target, files, envelope):
        return target
    home.aside.mkdir(parents=True, exist_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}.{digest[:16]}.", dir=home.aside))
    try:
        for path, sha256 in files.items():
            _copy(source / path, aside / path, sha256)
        _write(aside / SIGNATURE_FILE, envelope)
        for folder in [aside, *(entry for entry in aside.rglob("*") if entry.is_dir())]:
            folder.chmod(FOLDER_MODE)
            sync_folder(folder)
        if target.exists():
            discard(home, target)
        aside.rename(target)
        sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return target


def discard(home: Home, folder: Path) -> None:
    """Take a folder out of the store in one step, then delete it."""
    home.aside.mkdir(parents=True, exist_ok=True)
    grave = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}.removed.", dir=home.aside))
    folder.rename(grave / folder.name)
    sync_folder(folder.parent)
    shutil.rmtree(grave)


def write_file(file: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace a small file in one step that survives a crash."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, aside = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        Path(aside).rename(file)
        sync_folder(file.parent)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy(source: Path, target: Path, sha256: str) -> None:
    """Copy and hash in one pass; what is read is what is written."""
    target.parent.mkdir(parents=True, exist_ok=True)
    hasher = hashlib.sha256()
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as reader, target.open("xb") as writer:
        while piece := reader.read(CHUNK_BYTES):
            hasher.update(piece)
            writer.write(piece)
        _settle(writer)
    if hasher.hexdigest() != sha256:
        raise PackageError(f"{source} changed while it was being installed; try again")


def _write(target: Path, data: bytes) -> None:
    with target.open("xb") as writer:
        writer.write(data)
        _settle(writer)


def _settle(writer: BufferedWriter) -> None:
    """Make a file read-only and durable."""
    writer.flush()
    os.fchmod(writer.fileno(), FILE_MODE)
    os.fsync(writer.fileno())


def _is_whole(target: Path, files: Mapping[str, str], envelope: bytes) -> bool:
    """Whether a folder left by an earlier installation still holds exactly the expected bytes."""
    found = {str(entry.relative_to(target)) for entry in target.rglob("*") if not entry.is_dir()}
    if found != {*files, SIGNATURE_FILE} or (target / SIGNATURE_FILE).read_bytes() != envelope:
        return False
    for path, sha256 in files.items():
        with (target / path).open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != sha256:
                return False
    return True

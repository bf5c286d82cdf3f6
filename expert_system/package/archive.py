"""NAME-X.Y.Z.expert: a package's tree in one deterministic file (formats.md 2.2, 2.3).

    folder -> sorted tar, fixed times and owners -> gzip without a timestamp
    archive -> every name, kind and size checked -> folder

Promise: same tree, same bytes; nothing is unpacked before the whole archive has passed the shape rules.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from expert_system.errors import PackageError
from expert_system.package.files import MAX_FILES, MAX_PACKAGE_BYTES, Entry, EntryKind, check_entries, list_folder

SUFFIX = ".expert"
BLOCK_BYTES = 512
MAX_STREAM_BYTES = MAX_PACKAGE_BYTES + 8 * BLOCK_BYTES * MAX_FILES
"""The unpacked archive: files, headers and padding."""
MAX_READ_BYTES = 16 * 1024 * 1024
"""Of one read; a longer one is a header that claims to be huge."""
COPY_BYTES = 1024 * 1024
_BROKEN = (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, OverflowError)


def pack(root: Path, target: Path) -> None:
    """Write a package's folder as an archive; written aside and renamed.

    Raises:
        PackageError: the folder breaks a rule of 2.3.
    """
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with (
            aside.open("wb") as file,
            gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as stream,
            tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for entry in list_folder(root):
                member = tarfile.TarInfo(entry.path)
                member.size, member.mode, member.mtime = entry.size_bytes, 0o644, 0
                with (root / entry.path).open("rb") as content:
                    archive.addfile(member, content)
        aside.rename(target)
    finally:
        aside.unlink(missing_ok=True)


def unpack(archive: Path, folder: Path) -> tuple[Entry, ...]:
    """Check a whole archive, then unpack it into an empty folder.

    Raises:
        PackageError: not an archive of this format, or it breaks a rule of 2.3.
    """
    entries = list_archive(archive)
    sizes = {entry.path: entry.size_bytes for entry in entries}
    with _members(archive) as (reader, members):
        for member in members:
            if not member.isfile() or sizes.get(member.name) != member.size:
                continue
            target = folder / member.name
            target.parent.mkdir(parents=True, exist_ok=True)
            content = reader.extractfile(member)
            assert content is not None
            with target.open("xb") as file:
                while piece := content.read(COPY_BYTES):
                    file.write(piece)
    return entries


def list_archive(archive: Path) -> tuple[Entry, ...]:
    """What is in an archive, checked, with nothing unpacked."""
    with _members(archive) as (_, members):
        return check_entries(_entry(member) for member in members if not member.isdir())


def _entry(member: tarfile.TarInfo) -> Entry:
    kind = EntryKind.OTHER
    if member.issym() or member.islnk():
        kind = EntryKind.SYMLINK
    elif member.isreg() and not member.issparse():
        kind = EntryKind.FILE
    return Entry(path=member.name, kind=kind, size_bytes=member.size, executable=bool(member.mode & 0o111))


@contextmanager
def _members(archive: Path) -> Iterator[tuple[tarfile.TarFile, Iterator[tarfile.TarInfo]]]:
    """The members in order; whatever is wrong with the file comes out as a PackageError."""
    try:
        with archive.open("rb") as file, gzip.GzipFile(fileobj=file, mode="rb") as stream:
            bounded = _Bounded(stream)
            with tarfile.open(fileobj=bounded, mode="r|", errorlevel=2) as reader:
                yield reader, iter(reader)
            while bounded.read(COPY_BYTES):  # to the end, where gzip keeps its checksum
                pass
    except _BROKEN as error:
        raise PackageError(f"{archive}: not a readable {SUFFIX} archive: {error}") from None


class _Bounded(io.RawIOBase):
    """Stops an archive that unpacks to more than a package may hold, while it unpacks."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile) -> None:
        self._stream = stream
        self._left = MAX_STREAM_BYTES

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes."""
        if size < 0 or size > MAX_READ_BYTES:
            raise PackageError(f"the archive has a header of more than {MAX_READ_BYTES} bytes")
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise PackageError(f"the archive unpacks to more than {MAX_STREAM_BYTES} bytes")
        return data

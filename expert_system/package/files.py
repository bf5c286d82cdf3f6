"""The shape rules of a package: which files may be in one (formats.md 2.3).

    folder | git tree | archive -> Entry, Entry, … -> check_entries

Promise: the rules are one pure function over names, kinds and sizes, so nothing is copied or unpacked before they hold.
"""

from __future__ import annotations

import stat
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from expert_system.errors import PackageError

MAX_FILES = 512
MAX_FILE_BYTES = 512 * 1024 * 1024
MAX_PACKAGE_BYTES = 1024 * 1024 * 1024
MAX_PATH_BYTES = 512
MAX_NAME_BYTES = 255
"""Of one part of a path; the limit of common file systems."""
REFUSED_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".pyc"})
"""Pickles run code when they are read; compiled Python cannot be reviewed."""
SIGNATURE_FILE = "signature.json"
GIT_FOLDER = ".git"


class EntryKind(StrEnum):
    """What a name in a package stands for."""

    FILE = "file"
    SYMLINK = "symbolic link"
    OTHER = "device, socket or pipe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One name in a package, before anything of it is read."""

    path: str
    """Relative, with forward slashes."""
    kind: EntryKind = EntryKind.FILE
    size_bytes: int
    executable: bool = False


def check_entries(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return the entries sorted by path, or refuse them.

    Raises:
        PackageError: one breaks a rule of 2.3; the message names it.
    """
    checked: list[Entry] = []
    folded: dict[str, str] = {}
    total = 0
    for entry in entries:
        _check_path(entry.path)
        _check_entry(entry)
        _check_twins(entry.path, folded)
        checked.append(entry)
        total += entry.size_bytes
        if len(checked) > MAX_FILES:
            raise PackageError(f"more than {MAX_FILES} files; keep data sets outside the package")
        if total > MAX_PACKAGE_BYTES:
            raise PackageError(f"more than {MAX_PACKAGE_BYTES} bytes in all")
    return tuple(sorted(checked, key=lambda entry: entry.path))


def list_folder(root: Path) -> tuple[Entry, ...]:
    """List and check a package's folder; the `.git` folder at its top is not part of the package.

    Raises:
        PackageError: not a folder, or a file breaks a rule of 2.3.
    """
    if not root.is_dir():
        raise PackageError(f"{root}: not a folder; give the folder that holds manifest.json")
    return check_entries(_walk(root, PurePosixPath()))


def _walk(root: Path, below: PurePosixPath) -> Iterable[Entry]:
    for found in sorted((root / below).iterdir()):
        path = below / found.name
        if str(path) == GIT_FOLDER:
            continue
        status = found.lstat()
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(root, path)
            continue
        kind = EntryKind.SYMLINK if stat.S_ISLNK(status.st_mode) else EntryKind.OTHER
        kind = EntryKind.FILE if stat.S_ISREG(status.st_mode) else kind
        executable = kind is EntryKind.FILE and bool(status.st_mode & 0o111)
        yield Entry(path=str(path), kind=kind, size_bytes=status.st_size, executable=executable)


def _check_path(path: str) -> None:
    try:
        encoded = path.encode("utf-8")
    except UnicodeEncodeError:
        raise PackageError(f"{path!r}: the name is not UTF-8") from None
    parts = path.split("/")
    if path.startswith("/") or any(part in {"", ".", ".."} for part in parts):
        raise PackageError(f"{path!r}: absolute paths and '..' are refused")
    if "\\" in path or any(unicodedata.category(letter) in {"Cc", "Cf"} for letter in path):
        raise PackageError(f"{path!r}: backslashes and invisible characters are refused in names")
    if len(encoded) > MAX_PATH_BYTES or any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        raise PackageError(f"{path[:60]!r}…: the name is too long")
    if any(_fold(part) == GIT_FOLDER for part in parts):
        raise PackageError(f"{path!r}: a package has no .git inside")


def _check_entry(entry: Entry) -> None:
    if entry.kind is not EntryKind.FILE:
        raise PackageError(f"{entry.path!r}: a {entry.kind}; a package holds plain files only")
    if entry.executable:
        raise PackageError(f"{entry.path!r}: has an executable bit; run `chmod -x` on it")
    suffix = PurePosixPath(entry.path).suffix.lower()
    if suffix in REFUSED_SUFFIXES:
        raise PackageError(
            f"{entry.path!r}: {suffix} files are refused, since reading one can run code; use safetensors"
        )
    if entry.size_bytes > MAX_FILE_BYTES:
        raise PackageError(f"{entry.path!r}: {entry.size_bytes} bytes, the limit is {MAX_FILE_BYTES}")


def _check_twins(path: str, folded: dict[str, str]) -> None:
    """Refuse names that some file system takes for the same, folders included; remembers them in `folded`."""
    folders = [f"{folder}/" for folder in PurePosixPath(path).parents if folder.parts]
    twins = [folded.setdefault(_fold(folder[:-1]), folder) for folder in folders]
    twin = next((twin for twin, folder in zip(twins, folders, strict=True) if twin != folder), folded.get(_fold(path)))
    if twin is not None:
        raise PackageError(f"{path!r} and {twin!r}: two names that are equal on some file systems")
    folded[_fold(path)] = path


def _fold(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())

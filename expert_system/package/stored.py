"""What the rest of the system knows of one expert in this node's store, and the one way to read its files.

    digest -> signature.json's payload -> sha256 of each file -> bytes

Promise: what `read` returns is what was signed (or, for `--dev`, what was installed): the bytes are hashed in the
very buffer that the caller parses (formats.md 4.9).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from expert_system.domain import Digest
from expert_system.errors import IntegrityError, PackageError
from expert_system.package.envelope import MAX_ENVELOPE_BYTES, read_envelope
from expert_system.package.files import MAX_FILE_BYTES, SIGNATURE_FILE
from expert_system.package.manifest import MANIFEST_FILE, Manifest, parse_manifest
from expert_system.package.statement import package_digest, read_statement


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredExpert:
    """One stored expert: named by its digest, read-only, never edited in place."""

    digest: Digest
    path: Path
    """The unpacked package, `$EXPERT_HOME/store/sha256/<digest>/`."""
    manifest: Manifest
    verified: bool
    """False for `install --dev`; only a server started with `--dev` loads it."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Each path of the package and its sha256, as the statement has them."""
    on_damage: Callable[[Digest], None] | None = field(default=None, repr=False, compare=False)
    """Told when a file turns out to be damaged; the store quarantines the package."""

    def read(self, path: str) -> bytes:
        """The bytes of one file of the package, hashed.

        Raises:
            IntegrityError: the file is missing, or its bytes are not the ones that were installed.
        """
        expected = self.files.get(path)
        if expected is None:
            raise IntegrityError(f"{self.manifest.name}@{self.manifest.version} has no file {path!r}")
        try:
            return _read_hashed(self.path, path, expected, self.digest)
        except IntegrityError:
            if self.on_damage is not None:
                self.on_damage(self.digest)
            raise


def open_stored(
    path: Path, digest: Digest, *, verified: bool, on_damage: Callable[[Digest], None] | None = None
) -> StoredExpert:
    """Open a folder of the store; its statement and manifest are checked against the digest.

    Raises:
        IntegrityError: the folder does not hold what the digest names.
    """
    try:
        payload = read_envelope(_read_bounded(path / SIGNATURE_FILE, MAX_ENVELOPE_BYTES)).payload
        if package_digest(payload) != digest:
            raise IntegrityError(_changed(digest, SIGNATURE_FILE))
        files = read_statement(payload).files
        data = _read_hashed(path, MANIFEST_FILE, files.get(MANIFEST_FILE, ""), digest)
        manifest = parse_manifest(data, where=str(path / MANIFEST_FILE))
    except PackageError as error:
        raise IntegrityError(f"{_changed(digest, SIGNATURE_FILE)} ({error})") from None
    return StoredExpert(
        digest=digest, path=path, manifest=manifest, verified=verified, files=files, on_damage=on_damage
    )


def _read_hashed(root: Path, path: str, expected: str, digest: Digest) -> bytes:
    data = _read_bounded(root / path, MAX_FILE_BYTES)
    if hashlib.sha256(data).hexdigest() != expected:
        raise IntegrityError(_changed(digest, path))
    return data


def _read_bounded(file: Path, limit: int) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise IntegrityError(f"stored file {file} cannot be read: {error.strerror}; install the expert again") from None
    if len(data) > limit:
        raise IntegrityError(f"stored file {file} has grown above {limit} bytes; install the expert again")
    return data


def _changed(digest: Digest, path: str) -> str:
    return (
        f"{path} of stored expert {digest[:12]} is not what was installed; run `expert-cli verify` and install it again"
    )

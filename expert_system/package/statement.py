"""What a signature speaks of: the statement over a package's files, and the digest that names the package (formats.md 3).

    files -> sha256 each -> Statement -> canonical payload -> package digest

Promise: the digest is the sha256 of the payload, so equal digests mean equal files, name, version and flags.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Final, Literal

import rfc8785
from pydantic import ConfigDict, Field, ValidationError

from expert_system.domain import Digest
from expert_system.errors import PackageError
from expert_system.package.fields import Name, Part, Publisher, Sha256, Timestamp, Version, Word
from expert_system.package.files import MAX_FILES, SIGNATURE_FILE, Entry
from expert_system.package.manifest import Manifest

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "urn:expert-system:package:v1"
MAX_PAYLOAD_BYTES = 512 * 1024
"""512 files with names of ordinary length take 80 kB."""


class FileDigest(Part):
    """The digest of one subject."""

    sha256: Sha256


class Subject(Part):
    """One file of the package."""

    name: Annotated[str, Field(min_length=1, max_length=512)]
    digest: FileDigest


class BaseReference(Part):
    """One base of the manifest."""

    name: Word
    base_digest: Sha256


class Flags(Part):
    """What was let through on purpose when the statement was made."""

    allow_unproven: bool
    """No gain over the base was shown (1.9)."""
    dev: bool
    """Made by `install --dev`: never signed, never verified."""


class Predicate(Part):
    """What the publisher states of the files."""

    name: Name
    version: Version
    publisher: Publisher
    base_models: tuple[BaseReference, ...]
    flags: Flags
    signed_at: Timestamp


class Statement(Part):
    """An in-toto Statement v1."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    type: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")] = STATEMENT_TYPE
    subject: Annotated[tuple[Subject, ...], Field(min_length=1, max_length=MAX_FILES)]
    predicate_type: Annotated[Literal["urn:expert-system:package:v1"], Field(alias="predicateType")] = PREDICATE_TYPE
    predicate: Predicate

    @property
    def files(self) -> dict[str, str]:
        """Each path of the package and its sha256."""
        return {subject.name: subject.digest.sha256 for subject in self.subject}

    def payload(self) -> bytes:
        """The canonical bytes that are signed (RFC 8785)."""
        return rfc8785.dumps(self.model_dump(mode="json"))


def make_statement(manifest: Manifest, files: dict[str, str], *, signed_at: str, flags: Flags) -> Statement:
    """State a package's files; `files` maps each path to its sha256, `signature.json` left out."""
    return Statement(
        subject=tuple(Subject(name=path, digest=FileDigest(sha256=files[path])) for path in sorted(files)),
        predicate=Predicate(
            name=manifest.name,
            version=manifest.version,
            publisher=manifest.publisher,
            base_models=tuple(
                BaseReference(name=base.name, base_digest=base.base_digest) for base in manifest.base_models
            ),
            flags=flags,
            signed_at=signed_at,
        ),
    )


def read_statement(payload: bytes) -> Statement:
    """Read a payload that somebody else made.

    Raises:
        PackageError: too large, not canonical JSON, or not a statement of this format.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise PackageError(f"the statement is larger than {MAX_PAYLOAD_BYTES} bytes")
    try:
        if rfc8785.dumps(json.loads(payload)) != payload:
            raise PackageError("the statement is not canonical JSON (RFC 8785)")
        statement = Statement.model_validate_json(payload)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(step) for step in problem["loc"])
        raise PackageError(f"the statement: {place}: {problem['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise PackageError(f"the statement is not JSON: {error}") from None
    names = [subject.name for subject in statement.subject]
    if names != sorted(set(names)):
        raise PackageError("the statement's files are not sorted, or one stands twice")
    return statement


def package_digest(payload: bytes) -> Digest:
    """The identity of a package everywhere: the sha256 of its canonical payload (3.3)."""
    return Digest(hashlib.sha256(payload).hexdigest())


def hash_files(root: Path, entries: tuple[Entry, ...]) -> dict[str, str]:
    """The sha256 of every file but the signature."""
    return {entry.path: hash_file(root / entry.path) for entry in entries if entry.path != SIGNATURE_FILE}


def hash_file(file: Path) -> str:
    """The sha256 of one file, read in pieces."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

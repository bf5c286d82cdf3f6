"""The only way from fetched bytes to a package that may be installed (formats.md 4).

    Fetched -> 4.1 shape -> 4.2 files -> 4.3 signature -> 4.4 trust -> 4.5 versions -> 4.6 base
            -> 4.7 no rollback -> 4.8 no second digest -> VerifiedPackage

Promise: `verify` alone makes a VerifiedPackage; any failure names its step and changes nothing. Nothing that the
publisher wrote is parsed as a manifest before the publisher is known and trusted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from expert_system.domain import Digest
from expert_system.errors import AdapterRefused, PackageError, VerificationError
from expert_system.marketplace.trust import Trust
from expert_system.package.base import BaseDescription
from expert_system.package.check import check_package
from expert_system.package.envelope import MAX_ENVELOPE_BYTES, Envelope, read_envelope
from expert_system.package.files import SIGNATURE_FILE, Entry, list_folder
from expert_system.package.manifest import MANIFEST_FILE, Manifest, parse_manifest, read_manifest_bytes
from expert_system.package.signing import signers
from expert_system.package.statement import Statement, hash_files, package_digest, read_statement

_FROM_VERIFY = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A package as it came: nothing about it is believed."""

    root: Path
    source: str
    """The repository, archive or folder it came from."""
    tag: str | None = None
    commit_id: str | None = None
    digest: Digest | None = None
    """What a lock or an index says that the package digest must be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What this node knows and allows when it verifies."""

    trust: Trust
    bases: Sequence[BaseDescription]
    accepted: Callable[[str], Mapping[str, Digest]]
    """Every version of the named expert that was ever accepted, with its digest."""
    now: str
    allow_downgrade: bool = False


class VerifiedPackage:
    """A package that passed every step; only `verify` makes one."""

    __slots__ = ("_checked",)

    def __init__(self, checked: _Checked, proof: object) -> None:
        """Refuse to be made by anything but `verify`."""
        if proof is not _FROM_VERIFY:
            raise TypeError("only verify() makes a VerifiedPackage")
        self._checked = checked

    @property
    def fetched(self) -> Fetched:
        """Where it came from."""
        return self._checked.fetched

    @property
    def manifest(self) -> Manifest:
        """Its manifest."""
        return self._checked.manifest

    @property
    def statement(self) -> Statement:
        """What its publisher signed."""
        return self._checked.statement

    @property
    def envelope(self) -> Envelope:
        """Its signature.json."""
        return self._checked.envelope

    @property
    def digest(self) -> Digest:
        """Its identity."""
        return package_digest(self._checked.envelope.payload)

    @property
    def keyid(self) -> str:
        """The trusted key that signed it."""
        return self._checked.keyid

    @property
    def loadable_on(self) -> tuple[str, ...]:
        """The bases of this node that it fits; none when it is stored for later."""
        return self._checked.loadable_on


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    fetched: Fetched
    manifest: Manifest
    statement: Statement
    envelope: Envelope
    keyid: str
    loadable_on: tuple[str, ...]


def verify(fetched: Fetched, node: Node) -> VerifiedPackage:
    """Take a fetched package through every step.

    Raises:
        VerificationError: the first step that refused it.
    """
    entries = step_1_shape(fetched.root)
    envelope, statement = step_3_read_signature(fetched.root, entries)
    hashes = step_2_files(fetched.root, entries, statement)
    genuine = step_3_signature(envelope, node.trust)
    keyid = step_4_trust(envelope, genuine, statement, node)
    manifest = step_5_versions(fetched, statement)
    loadable_on = step_6_base(fetched.root, manifest, hashes, node.bases)
    digest = package_digest(envelope.payload)
    step_7_no_rollback(statement, node)
    step_8_one_digest(fetched, statement, digest, node)
    checked = _Checked(
        fetched=fetched,
        manifest=manifest,
        statement=statement,
        envelope=envelope,
        keyid=keyid,
        loadable_on=loadable_on,
    )
    return VerifiedPackage(checked, _FROM_VERIFY)


def step_1_shape(root: Path) -> tuple[Entry, ...]:
    """4.1: the names, kinds and sizes of clause 2.3."""
    try:
        return list_folder(root)
    except PackageError as error:
        raise VerificationError("4.1", str(error)) from None


def step_2_files(root: Path, entries: Sequence[Entry], statement: Statement) -> dict[str, str]:
    """4.2: every listed file present with the listed digest, and none besides."""
    present = {entry.path for entry in entries} - {SIGNATURE_FILE}
    listed = statement.files
    for path in sorted(present - listed.keys()):
        raise VerificationError("4.2", f"{path!r} is not in the signed list; the package was added to")
    for path in sorted(listed.keys() - present):
        raise VerificationError("4.2", f"{path!r} is in the signed list but missing")
    hashes = hash_files(root, tuple(entries))
    for path, sha256 in hashes.items():
        if sha256 != listed[path]:
            raise VerificationError("4.2", f"{path!r} has other bytes than the signed ones")
    return hashes


def step_3_read_signature(root: Path, entries: Sequence[Entry]) -> tuple[Envelope, Statement]:
    """4.3, first half: there is an envelope with a statement; who made it is not known yet."""
    if all(entry.path != SIGNATURE_FILE for entry in entries):
        raise VerificationError("4.3", "the package is unsigned; its publisher runs `expert-cli sign`")
    try:
        with (root / SIGNATURE_FILE).open("rb") as stream:
            envelope = read_envelope(stream.read(MAX_ENVELOPE_BYTES + 1))
        return envelope, read_statement(envelope.payload)
    except PackageError as error:
        raise VerificationError("4.3", str(error)) from None


def step_3_signature(envelope: Envelope, trust: Trust) -> set[str]:
    """4.3: no signature by a key that we know is false, and there is one at all."""
    if not envelope.signatures:
        raise VerificationError("4.3", "the package is unsigned; its publisher runs `expert-cli sign`")
    keys = trust.public_keys()
    genuine = signers(envelope, keys)
    for signature in envelope.signatures:
        if signature.keyid in keys and signature.keyid not in genuine:
            raise VerificationError("4.3", f"the signature by key {signature.keyid[:12]} is not genuine")
    return genuine


def step_4_trust(envelope: Envelope, genuine: set[str], statement: Statement, node: Node) -> str:
    """4.4: one genuine signature is by a key that may sign this publisher's expert of this name, now."""
    problems: list[str] = []
    for keyid in sorted({signature.keyid for signature in envelope.signatures}):
        problem = node.trust.problem_with(
            keyid, publisher=statement.predicate.publisher, name=statement.predicate.name, now=node.now
        )
        if problem is None and keyid in genuine:
            return keyid
        problems.append(problem or f"key {keyid[:12]} did not sign it")
    raise VerificationError("4.4", "; ".join(problems))


def step_5_versions(fetched: Fetched, statement: Statement) -> Manifest:
    """4.5: tag, manifest and statement speak of the same name, version, publisher and bases."""
    stated = statement.predicate
    try:
        data = read_manifest_bytes(fetched.root)
        if hashlib.sha256(data).hexdigest() != statement.files.get(MANIFEST_FILE):
            raise VerificationError("4.2", f"{MANIFEST_FILE} changed while it was verified")
        manifest = parse_manifest(data)
    except PackageError as error:
        raise VerificationError("4.5", str(error)) from None
    pairs = {
        "name": (manifest.name, stated.name),
        "version": (manifest.version, stated.version),
        "publisher": (manifest.publisher, stated.publisher),
        "bases": (
            [base.base_digest for base in manifest.base_models],
            [base.base_digest for base in stated.base_models],
        ),
    }
    for what, (ours, signed) in pairs.items():
        if ours != signed:
            raise VerificationError("4.5", f"the manifest's {what} is {ours}, the statement's {signed}")
    if fetched.tag is not None and fetched.tag != f"v{stated.version}":
        raise VerificationError("4.5", f"tag {fetched.tag} holds version {stated.version}")
    if stated.flags.dev:
        raise VerificationError("4.5", "the statement is one that `install --dev` made; it is never valid")
    return manifest


def step_6_base(
    root: Path, manifest: Manifest, hashes: Mapping[str, str], bases: Sequence[BaseDescription]
) -> tuple[str, ...]:
    """4.6: the adapters fit their base; without that base the package is stored, but not loadable."""
    try:
        check_package(root, manifest, hashes, bases)
    except (AdapterRefused, PackageError) as error:
        raise VerificationError("4.6", str(error)) from None
    return tuple(base.name for base in bases if manifest.binding_for(base.binding) is not None)


def step_7_no_rollback(statement: Statement, node: Node) -> None:
    """4.7: not below the highest version ever accepted, unless that was asked for."""
    version = statement.predicate.version
    highest = max(node.accepted(statement.predicate.name), key=_precedence, default=version)
    if _precedence(version) < _precedence(highest) and not node.allow_downgrade:
        raise VerificationError(
            "4.7", f"{statement.predicate.name}@{version} is older than {highest}, which was accepted before; "
            "pass --allow-downgrade if you mean it"
        )  # fmt: skip


def step_8_one_digest(fetched: Fetched, statement: Statement, digest: Digest, node: Node) -> None:
    """4.8: a version has one digest for ever, the one that was accepted, locked or published in the index."""
    stated = statement.predicate
    before = node.accepted(stated.name).get(stated.version)
    for origin, expected in (("accepted before", before), ("asked for", fetched.digest)):
        if expected is not None and expected != digest:
            raise VerificationError(
                "4.8", f"{stated.name}@{stated.version} has digest {digest[:12]}, the one {origin} is {expected[:12]}; "
                "its tag was moved"
            )  # fmt: skip


def _precedence(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))

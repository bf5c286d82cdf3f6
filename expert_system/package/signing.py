"""Sign a package, and check who signed an envelope (formats.md 3).

folder -> checks -> statement -> payload -> PAE -> ed25519 -> signature.json
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from expert_system.domain import Digest
from expert_system.errors import ConfigError
from expert_system.package.base import BaseDescription
from expert_system.package.check import check_package, check_proven
from expert_system.package.envelope import Envelope, Signature, pae
from expert_system.package.files import SIGNATURE_FILE, list_folder
from expert_system.package.keys import SecretKey
from expert_system.package.manifest import read_manifest
from expert_system.package.statement import Flags, hash_files, make_statement, package_digest


def sign_folder(
    root: Path, key: SecretKey, *, allow_unproven: bool = False, bases: Iterable[BaseDescription] = ()
) -> Digest:
    """Check a package's folder, then write its signature.json.

    Args:
        root: the expert repository's work tree.
        key: the publisher's key.
        allow_unproven: sign although no gain over the base was shown; the statement records it.
        bases: bases to check shapes against.

    Returns:
        The package digest.

    Raises:
        PackageError, AdapterRefused: the folder is not an expert that could be published.
    """
    entries = list_folder(root)
    manifest = read_manifest(root)
    files = hash_files(root, entries)
    check_package(root, manifest, files, bases)
    if not allow_unproven:
        check_proven(root, manifest)
    flags = Flags(allow_unproven=allow_unproven, dev=False)
    payload = make_statement(manifest, files, signed_at=signing_time(), flags=flags).payload()
    (root / SIGNATURE_FILE).write_bytes(sign_payload(payload, key).encode())
    return package_digest(payload)


def sign_payload(payload: bytes, key: SecretKey) -> Envelope:
    """Wrap a payload in an envelope with one signature."""
    return Envelope(payload=payload, signatures=(Signature(keyid=key.public.keyid, value=key.sign(pae(payload))),))


def signers(envelope: Envelope, keys: Mapping[str, bytes]) -> set[str]:
    """The ids of those keys whose signature over the payload is genuine.

    Args:
        envelope: what was read.
        keys: the raw public keys to try, by key id; a signature by another key proves nothing and is left out.
    """
    message = pae(envelope.payload)
    return {s.keyid for s in envelope.signatures if s.keyid in keys and _genuine(keys[s.keyid], message, s.value)}


def signing_time() -> str:
    """Now, or the moment that SOURCE_DATE_EPOCH names, so that signing again gives the same bytes."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    except (ValueError, OverflowError, OSError):
        raise ConfigError(f"SOURCE_DATE_EPOCH={epoch!r} is not a number of seconds since 1970") from None
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _genuine(public: bytes, message: bytes, signature: bytes) -> bool:
    try:
        VerifyKey(public).verify(message, signature)
    except (BadSignatureError, ValueError):
        return False
    return True

"""Which keys this node believes, for which publisher and which names (formats.md 4.4).

    trust.json + the project's own key -> Trust -> the key that a package needs

Promise: nothing is trusted on first use; a revocation counts whatever else says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from expert_system.errors import ConfigError
from expert_system.marketplace.placing import write_file
from expert_system.package.fields import Part, Publisher, Sha256, Text, Timestamp
from expert_system.package.keys import PublicKey, key_id

MAX_TRUST_BYTES = 4 * 1024 * 1024
OFFICIAL = "official_keys.json"
"""Package data: the project's own keys."""
NamePattern = Annotated[str, Field(pattern=r"^expert-[a-z0-9*-]+$", max_length=64)]


class TrustedKey(Part):
    """One key, and how far it is believed."""

    keyid: Sha256
    public: Sha256
    publisher: Publisher
    names: Annotated[tuple[NamePattern, ...], Field(min_length=1, max_length=100)]
    """The experts that it may sign; `*` stands for any letters."""
    added_at: Timestamp
    expires_at: Timestamp | None = None


class Revocation(Part):
    """A key that is believed no longer."""

    keyid: Sha256
    revoked_at: Timestamp
    reason: Text


class TrustFile(Part):
    """The content of trust.json."""

    keys: Annotated[tuple[TrustedKey, ...], Field(max_length=1000)] = ()
    revoked: Annotated[tuple[Revocation, ...], Field(max_length=10_000)] = ()


@dataclass(frozen=True, slots=True)
class Trust:
    """Every key that this node knows."""

    keys: tuple[TrustedKey, ...]
    revoked: tuple[Revocation, ...]

    def public_keys(self) -> dict[str, bytes]:
        """The raw public keys by key id, revoked and expired ones included."""
        return {key.keyid: bytes.fromhex(key.public) for key in self.keys}

    def problem_with(self, keyid: str, *, publisher: str, name: str, now: str) -> str | None:
        """Why a key may not sign this expert; None when it may."""
        revocation = next((entry for entry in self.revoked if entry.keyid == keyid), None)
        if revocation is not None:
            return f"key {keyid[:12]} was revoked at {revocation.revoked_at}: {revocation.reason}"
        known = [key for key in self.keys if key.keyid == keyid]
        if not known:
            return (
                f"key {keyid[:12]} of publisher {publisher!r} is not trusted; "
                f"get the key from its owner and run `expert-cli trust add KEY.pub --publisher {publisher}`"
            )
        fitting = [key for key in known if key.publisher == publisher and any(fnmatchcase(name, p) for p in key.names)]
        if not fitting:
            scope = "; ".join(f"{', '.join(key.names)} of {key.publisher}" for key in known)
            return f"key {keyid[:12]} may sign {scope}, not {name} of {publisher}"
        if all(key.expires_at is not None and key.expires_at <= now for key in fitting):
            return f"key {keyid[:12]} expired at {fitting[0].expires_at}; get the publisher's new key"
        return None


def read_trust(file: Path) -> Trust:
    """The node's trust, the project's own keys included.

    Raises:
        ConfigError: trust.json is damaged; nothing is trusted then.
    """
    own, official = _read(file), official_keys()
    return Trust(keys=(*own.keys, *official.keys), revoked=(*own.revoked, *official.revoked))


def official_keys() -> TrustFile:
    """The keys that ship with the project."""
    data = resources.files("expert_system.marketplace").joinpath(OFFICIAL).read_bytes()
    return TrustFile.model_validate_json(data)


def add_key(file: Path, key: PublicKey, *, publisher: str, names: Iterable[str], expires_at: str | None = None) -> None:
    """Trust a key for a publisher's experts; a second call for the same key and publisher replaces the first.

    Raises:
        ConfigError: the key was revoked, or a name is not a pattern.
    """
    before = _read(file)
    if any(entry.keyid == key.keyid for entry in (*before.revoked, *official_keys().revoked)):
        raise ConfigError(f"key {key.keyid[:12]} was revoked; a revoked key is never trusted again")
    if key.keyid != key_id(bytes.fromhex(key.public)):
        raise ConfigError("the key id does not belong to the key")
    added = _checked(
        {
            "keyid": key.keyid,
            "public": key.public,
            "publisher": publisher,
            "names": list(names),
            "added_at": moment(),
            "expires_at": expires_at,
        }
    )
    kept = [entry for entry in before.keys if (entry.keyid, entry.publisher) != (added.keyid, publisher)]
    _write(file, TrustFile(keys=(*kept, added), revoked=before.revoked))


def revoke_key(file: Path, keyid: str, reason: str) -> Revocation:
    """Believe a key no longer; `keyid` may be shortened to where it is unambiguous.

    Raises:
        ConfigError: no known key has this id, or several have.
    """
    before = _read(file)
    known = {key.keyid for key in read_trust(file).keys} | ({keyid} if len(keyid) == 64 else set())
    matching = [full for full in known if full.startswith(keyid)]
    if len(matching) != 1:
        raise ConfigError(f"{keyid!r} fits {len(matching)} known keys; see `expert-cli trust list`")
    revocation = Revocation(keyid=matching[0], revoked_at=moment(), reason=reason)
    _write(file, TrustFile(keys=before.keys, revoked=(*before.revoked, revocation)))
    return revocation


def moment() -> str:
    """Now, as the formats write it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _checked(values: dict[str, object]) -> TrustedKey:
    try:
        return TrustedKey.model_validate_json(json.dumps(values))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise ConfigError(f"{'.'.join(str(step) for step in problem['loc'])}: {problem['msg']}") from None


def _read(file: Path) -> TrustFile:
    try:
        with file.open("rb") as stream:
            return TrustFile.model_validate_json(stream.read(MAX_TRUST_BYTES))
    except FileNotFoundError:
        return TrustFile()
    except (OSError, ValidationError) as error:
        raise ConfigError(f"{file} is damaged, so nothing is trusted: {error}; restore it from a backup") from None


def _write(file: Path, content: TrustFile) -> None:
    write_file(file, (json.dumps(content.model_dump(mode="json", exclude_none=True), indent=2) + "\n").encode())

"""Ed25519 keys in files: the seed for its owner alone, the public half for everybody (formats.md 3.2).

keygen -> NAME.key (mode 0600, optionally encrypted) + NAME.pub
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import nacl.pwhash.argon2id
import nacl.secret
import nacl.utils
from nacl.exceptions import CryptoError
from nacl.signing import SigningKey
from pydantic import Field, ValidationError

from expert_system.errors import ConfigError
from expert_system.package.fields import Part, Sha256

P = TypeVar("P", bound=Part)

MAX_KEY_BYTES = 16 * 1024
KEY_MODE = 0o600
_OPERATIONS = nacl.pwhash.argon2id.OPSLIMIT_MODERATE
_MEMORY_BYTES = nacl.pwhash.argon2id.MEMLIMIT_MODERATE


class _Locked(Part):
    """A seed under a passphrase: argon2id makes the key, secretbox (XSalsa20-Poly1305) seals."""

    kdf: Literal["argon2id"]
    operations: Annotated[int, Field(ge=1, le=64)]
    memory_bytes: Annotated[int, Field(ge=8192, le=2**30)]
    salt: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    box: Annotated[str, Field(pattern="^[0-9a-f]{144}$")]


class _KeyFile(Part):
    type: Literal["ed25519"]
    keyid: Sha256
    seed: Sha256 | None = None
    locked: _Locked | None = None


class PublicKey(Part):
    """The content of a .pub file."""

    type: Literal["ed25519"] = "ed25519"
    keyid: Sha256
    public: Sha256
    """The 32 raw bytes in hex."""


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A key that can sign; its representation shows no secret."""

    _signing: SigningKey

    @classmethod
    def generate(cls) -> SecretKey:
        """A new key from the system's randomness."""
        return cls(SigningKey.generate())

    @property
    def public(self) -> PublicKey:
        """The half that may be published."""
        raw = bytes(self._signing.verify_key)
        return PublicKey(keyid=key_id(raw), public=raw.hex())

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of a detached signature."""
        return bytes(self._signing.sign(message).signature)

    def __repr__(self) -> str:
        return f"SecretKey({self.public.keyid[:12]})"


def key_id(public: bytes) -> str:
    """The sha256 of the raw public key."""
    return hashlib.sha256(public).hexdigest()


def write_key(key: SecretKey, file: Path, passphrase: str | None = None) -> Path:
    """Write a seed and, beside it, the public half; never overwrites a key.

    Returns:
        The file of the public half.

    Raises:
        ConfigError: the file exists or cannot be written.
    """
    seed = bytes(key._signing)
    content = _KeyFile(
        type="ed25519",
        keyid=key.public.keyid,
        seed=None if passphrase else seed.hex(),
        locked=_lock(seed, passphrase) if passphrase else None,
    )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, KEY_MODE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(_json(content))
        public = file.with_suffix(".pub")
        public.write_text(_json(key.public), encoding="utf-8")
    except FileExistsError:
        raise ConfigError(f"{file} exists; a key is never overwritten, choose another name") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}") from None
    return public


def read_key(file: Path, passphrase: str | None = None) -> SecretKey:
    """Read a seed.

    Raises:
        ConfigError: not a key, readable by others, or the passphrase is missing or wrong.
    """
    if file.is_file() and file.stat().st_mode & 0o077:
        raise ConfigError(f"{file} can be read by others; run `chmod 600 {file}`")
    content = _read(file, _KeyFile)
    if content.seed is not None:
        return SecretKey(SigningKey(bytes.fromhex(content.seed)))
    if content.locked is None:
        raise ConfigError(f"{file} holds neither a seed nor an encrypted one")
    if passphrase is None:
        raise ConfigError(f"{file} is encrypted; give its passphrase")
    return SecretKey(SigningKey(_unlock(content.locked, passphrase, file)))


def read_public_key(file: Path) -> PublicKey:
    """Read a .pub file.

    Raises:
        ConfigError: not a public key, or its key id is not the key's.
    """
    key = _read(file, PublicKey)
    if key.keyid != key_id(bytes.fromhex(key.public)):
        raise ConfigError(f"{file}: the key id does not belong to the key")
    return key


def is_encrypted(file: Path) -> bool:
    """Whether reading the key needs a passphrase."""
    return _read(file, _KeyFile).locked is not None


def _lock(seed: bytes, passphrase: str) -> _Locked:
    salt = nacl.utils.random(nacl.pwhash.argon2id.SALTBYTES)
    key = _stretch(passphrase, salt, _OPERATIONS, _MEMORY_BYTES)
    box = bytes(nacl.secret.SecretBox(key).encrypt(seed))
    return _Locked(kdf="argon2id", operations=_OPERATIONS, memory_bytes=_MEMORY_BYTES, salt=salt.hex(), box=box.hex())


def _unlock(locked: _Locked, passphrase: str, file: Path) -> bytes:
    key = _stretch(passphrase, bytes.fromhex(locked.salt), locked.operations, locked.memory_bytes)
    try:
        return bytes(nacl.secret.SecretBox(key).decrypt(bytes.fromhex(locked.box)))
    except CryptoError:
        raise ConfigError(f"{file}: wrong passphrase") from None


def _stretch(passphrase: str, salt: bytes, operations: int, memory_bytes: int) -> bytes:
    return nacl.pwhash.argon2id.kdf(
        nacl.secret.SecretBox.KEY_SIZE, passphrase.encode(), salt, opslimit=operations, memlimit=memory_bytes
    )


def _json(part: Part) -> str:
    return json.dumps(part.model_dump(mode="json", exclude_none=True), indent=2) + "\n"


def _read(file: Path, kind: type[P]) -> P:
    try:
        with file.open("rb") as stream:
            return kind.model_validate_json(stream.read(MAX_KEY_BYTES))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}; make a key with `expert-cli keygen`") from None
    except ValidationError as error:
        raise ConfigError(f"{file}: not a key file: {error.errors(include_input=False)[0]['msg']}") from None

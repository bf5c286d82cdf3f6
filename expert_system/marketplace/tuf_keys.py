"""Our ed25519 keys as python-tuf wants them, through PyNaCl; importing this registers them (formats.md 5.1)."""

from __future__ import annotations

from typing import Any

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import KEY_FOR_TYPE_AND_SCHEME, Key, SecretsHandler, Signature, Signer  # type: ignore[attr-defined]

from expert_system.package.keys import PublicKey, SecretKey

_KIND = "ed25519"


class IndexKey(Key):
    """The public half."""

    @classmethod
    def of(cls, key: PublicKey) -> IndexKey:
        """The same key under TUF's names."""
        return cls(key.keyid, _KIND, _KIND, {"public": key.public})

    @classmethod
    def from_dict(cls, keyid: str, key_dict: dict[str, Any]) -> IndexKey:
        """Read from metadata."""
        keytype, scheme, keyval = cls._from_dict(key_dict)
        return cls(keyid, keytype, scheme, keyval, key_dict)

    def to_dict(self) -> dict[str, Any]:
        """Write into metadata."""
        return self._to_dict()

    def verify_signature(self, signature: Signature, data: bytes) -> None:
        """Raise when the signature is not genuine."""
        try:
            VerifyKey(bytes.fromhex(self.keyval["public"])).verify(data, bytes.fromhex(signature.signature))
        except (BadSignatureError, ValueError, TypeError) as error:
            raise UnverifiedSignatureError(f"key {self.keyid[:12]} did not sign this") from error


class IndexSigner(Signer):
    """The secret half."""

    def __init__(self, key: SecretKey) -> None:
        """Wrap one of our keys."""
        self._key = key

    @property
    def public_key(self) -> Key:
        """What verifies its signatures."""
        return IndexKey.of(self._key.public)

    def sign(self, payload: bytes) -> Signature:
        """Sign metadata."""
        return Signature(self._key.public.keyid, self._key.sign(payload).hex())

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> Signer:
        """Our keys are files, read by `package.keys`."""
        raise ValueError("index keys are not named by URI")


KEY_FOR_TYPE_AND_SCHEME[(_KIND, _KIND)] = IndexKey

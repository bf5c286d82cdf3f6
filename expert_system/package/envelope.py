"""DSSE envelopes: a payload and who signed it (formats.md 3.1).

    payload -> PAE -> signatures -> signature.json

Promise: reading an envelope proves nothing about who made it; `package.signing` does that over `pae`.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, ValidationError

from expert_system.errors import PackageError
from expert_system.package.fields import Part

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_ENVELOPE_BYTES = 1024 * 1024
MAX_SIGNATURES = 8


class _Signature(Part):
    keyid: Annotated[str, Field(max_length=128)]
    sig: Annotated[str, Field(max_length=256)]


class _Envelope(Part):
    payload: str
    payloadType: str  # noqa: N815 - the name is DSSE's
    signatures: Annotated[tuple[_Signature, ...], Field(max_length=MAX_SIGNATURES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One signature; the key id is a claim until it verifies."""

    keyid: str
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A payload with its signatures; none at all for a package that `install --dev` stored."""

    payload: bytes
    signatures: tuple[Signature, ...] = ()

    def encode(self) -> bytes:
        """The content of signature.json."""
        values = {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": s.keyid, "sig": base64.b64encode(s.value).decode()} for s in self.signatures],
        }
        return (json.dumps(values, indent=2) + "\n").encode()


def pae(payload: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding of type and payload."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def read_envelope(data: bytes) -> Envelope:
    """Read the bytes of a signature.json that somebody else made.

    Raises:
        PackageError: not a DSSE envelope of this format.
    """
    if len(data) > MAX_ENVELOPE_BYTES:
        raise PackageError(f"signature.json is larger than {MAX_ENVELOPE_BYTES} bytes")
    try:
        envelope = _Envelope.model_validate_json(data)
        if envelope.payloadType != PAYLOAD_TYPE:
            raise PackageError(f"signature.json: payloadType is {envelope.payloadType!r}, not {PAYLOAD_TYPE!r}")
        return Envelope(
            payload=_decoded(envelope.payload),
            signatures=tuple(Signature(keyid=s.keyid, value=_decoded(s.sig)) for s in envelope.signatures),
        )
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(step) for step in problem["loc"]) or "the file"
        raise PackageError(f"signature.json: {place}: {problem['msg']}") from None


def _decoded(text: str) -> bytes:
    """DSSE allows the standard and the URL-safe alphabet."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raise PackageError("signature.json holds something that is not base64") from None

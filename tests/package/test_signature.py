"""Statement, envelope and keys; checked against an independent implementation."""

from __future__ import annotations

import base64
import json
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as TheirEnvelope
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]

from expert_system.errors import ConfigError, PackageError
from expert_system.package.base import BaseDescription
from expert_system.package.envelope import PAYLOAD_TYPE, Envelope, read_envelope
from expert_system.package.files import SIGNATURE_FILE
from expert_system.package.keys import SecretKey, is_encrypted, key_id, read_key, read_public_key, write_key
from expert_system.package.signing import sign_folder, sign_payload, signers
from expert_system.package.statement import package_digest, read_statement
from expert_system.testing.expert import make_expert


def test_securesystemslib_verifies_our_envelope(expert: Path) -> None:
    """formats.md 3.4: an independent implementation verifies what we sign."""
    key = SecretKey.generate()
    sign_folder(expert, key)
    theirs = TheirEnvelope.from_dict(json.loads((expert / SIGNATURE_FILE).read_text()))
    public = SSlibKey(key.public.keyid, "ed25519", "ed25519", {"public": key.public.public})
    assert {key.public.keyid} == set(theirs.verify([public], 1))


def test_we_verify_an_envelope_that_securesystemslib_made() -> None:
    """formats.md 3.4, the other way round."""
    signer = CryptoSigner.generate_ed25519()
    theirs = TheirEnvelope(b'{"a":1}', PAYLOAD_TYPE, {})
    theirs.sign(signer)
    ours = read_envelope(json.dumps(theirs.to_dict()).encode())
    public = bytes.fromhex(signer.public_key.keyval["public"])
    assert {signer.public_key.keyid} == signers(ours, {signer.public_key.keyid: public})
    assert set() == signers(ours, {signer.public_key.keyid: bytes(32)})


def test_the_statement_lists_every_file_and_its_digest_names_the_package(expert: Path) -> None:
    """formats.md 3.1, 3.3: one subject a file; the digest is the sha256 of the canonical payload."""
    digest = sign_folder(expert, SecretKey.generate())
    payload = read_envelope((expert / SIGNATURE_FILE).read_bytes()).payload
    statement = read_statement(payload)
    on_disk = {str(f.relative_to(expert)) for f in expert.rglob("*") if f.is_file()} - {SIGNATURE_FILE}
    assert on_disk == set(statement.files)
    assert digest == package_digest(payload)
    assert payload == statement.payload()


def test_the_digest_does_not_depend_on_the_key_but_on_every_byte(expert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """formats.md 3.3: an expert's identity is its content; SOURCE_DATE_EPOCH makes it repeatable."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    first = sign_folder(expert, SecretKey.generate())
    assert first == sign_folder(expert, SecretKey.generate())
    assert b'"signed_at":"2026-01-01T00:00:00Z"' in read_envelope((expert / SIGNATURE_FILE).read_bytes()).payload
    (expert / "README.md").write_text("another")
    assert first != sign_folder(expert, SecretKey.generate())


def test_an_unproven_expert_is_signed_only_when_asked_and_the_statement_says_so(
    base: BaseDescription, tmp_path: Path
) -> None:
    """formats.md 1.9: packaging refuses an expert without a measured gain."""
    folder = make_expert(tmp_path / "unproven", base, proven=False)
    with pytest.raises(PackageError, match="--allow-unproven"):
        sign_folder(folder, SecretKey.generate())
    sign_folder(folder, SecretKey.generate(), allow_unproven=True)
    statement = read_statement(read_envelope((folder / SIGNATURE_FILE).read_bytes()).payload)
    assert statement.predicate.flags.allow_unproven


def test_a_gain_that_may_be_zero_is_not_proven(base: BaseDescription, tmp_path: Path) -> None:
    """formats.md 1.9: above zero at the lower interval."""
    folder = make_expert(tmp_path / "weak", base)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["quality_metrics"][0]["measures"][0]["gain"] = {"value": 0.02, "low": -0.01, "high": 0.05}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PackageError, match="not surely above zero"):
        sign_folder(folder, SecretKey.generate())


def _edit(folder: Path, file: str, *path: str | int, value: object) -> None:
    """Change one value of a JSON file of an expert."""
    whole = json.loads((folder / file).read_text())
    part = whole
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    (folder / file).write_text(json.dumps(whole))


def test_a_gain_that_is_no_difference_is_refused(expert: Path) -> None:
    """formats.md 1.9: the gain is the expert's value less the base's, whatever somebody writes."""
    _edit(
        expert,
        "manifest.json",
        "quality_metrics",
        0,
        "measures",
        0,
        "gain",
        value={"value": 0.9, "low": 0.8, "high": 1.0},
    )
    with pytest.raises(PackageError, match="less the base's"):
        sign_folder(expert, SecretKey.generate())


def test_figures_that_leave_out_an_adapter_are_refused(expert: Path) -> None:
    """formats.md 1.9: an evaluation binds every weight of its base."""
    _edit(expert, "manifest.json", "quality_metrics", 0, "adapters", value={})
    with pytest.raises(PackageError, match="does not bind"):
        sign_folder(expert, SecretKey.generate())


def test_figures_without_their_report_are_refused(expert: Path) -> None:
    """formats.md 1.9: evaluation.json bears out what the manifest says."""
    _edit(expert, "evaluation.json", "held_out_examples", value=2000)
    with pytest.raises(PackageError, match="does not say what quality_metrics says"):
        sign_folder(expert, SecretKey.generate())
    (expert / "evaluation.json").unlink()
    with pytest.raises(PackageError, match="cannot be read"):
        sign_folder(expert, SecretKey.generate())


def test_evidence_for_other_weights_is_refused(base: BaseDescription, tmp_path: Path) -> None:
    """formats.md 1.9: quality_metrics are bound to the adapter's sha256."""
    folder = make_expert(tmp_path / "first", base, seed=1)
    other = make_expert(tmp_path / "other", base, seed=2)
    (folder / "manifest.json").write_bytes((other / "manifest.json").read_bytes())
    with pytest.raises(PackageError, match="measured another"):
        sign_folder(folder, SecretKey.generate())


def test_a_payload_that_is_not_canonical_is_refused(expert: Path) -> None:
    """formats.md 3.3: two spellings of one statement would be two digests."""
    sign_folder(expert, SecretKey.generate())
    payload = read_envelope((expert / SIGNATURE_FILE).read_bytes()).payload
    with pytest.raises(PackageError, match="canonical"):
        read_statement(json.dumps(json.loads(payload), indent=1).encode())


@pytest.mark.parametrize("passphrase", [None, "correct horse"])
def test_a_key_file_is_private_and_reads_back(tmp_path: Path, passphrase: str | None) -> None:
    """formats.md 3.2: mode 0600, optionally under a passphrase; the public half beside it."""
    key = SecretKey.generate()
    file = tmp_path / "own.key"
    public = read_public_key(write_key(key, file, passphrase))
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert (key.public, passphrase is not None) == (public, is_encrypted(file))
    assert key.public == read_key(file, passphrase).public
    assert key_id(bytes.fromhex(public.public)) == public.keyid
    with pytest.raises(ConfigError, match="never overwritten"):
        write_key(key, file)
    if passphrase:
        with pytest.raises(ConfigError, match="wrong passphrase"):
            read_key(file, "wrong")
        with pytest.raises(ConfigError, match="give its passphrase"):
            read_key(file)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """formats.md 3.2."""
    file = tmp_path / "own.key"
    write_key(SecretKey.generate(), file)
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_key(file)


def test_a_key_does_not_show_its_secret() -> None:
    """Keys end up in logs; seeds must not."""
    key = SecretKey.generate()
    assert key.public.keyid[:12] in repr(key)
    assert bytes(key._signing).hex() not in repr(key)


@given(st.binary(max_size=400))
def test_no_bytes_make_the_envelope_reader_raise_anything_but_our_own_error(data: bytes) -> None:
    """Issue A5: property test on the envelope reader."""
    for text in (
        data,
        json.dumps(
            {"payload": base64.b64encode(data).decode(), "payloadType": PAYLOAD_TYPE, "signatures": []}
        ).encode(),
    ):
        with suppress(PackageError):
            read_statement(read_envelope(text).payload)


@given(st.binary(max_size=200))
def test_an_envelope_is_read_back_as_it_was_written(payload: bytes) -> None:
    """formats.md 3.1."""
    envelope = sign_payload(payload, SecretKey.generate())
    assert envelope == read_envelope(envelope.encode())
    assert Envelope(payload=payload) == read_envelope(Envelope(payload=payload).encode())

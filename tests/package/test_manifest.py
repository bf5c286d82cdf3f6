"""The manifest: its bounds, its messages, and that no bytes can make the reader do anything else than refuse."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expert_system.errors import PackageError
from expert_system.package.manifest import Manifest, dump_manifest, parse_manifest, read_manifest
from expert_system.package.schema import SCHEMA_FILE, schema

_SHA = "0" * 64
MINIMAL: dict[str, Any] = {
    "schema_version": "2.0",
    "name": "expert-sql",
    "version": "1.0.0",
    "description": "Writes SQL.",
    "publisher": "example",
    "license": "MIT",
    "created_at": "2026-01-01T00:00:00Z",
    "base_models": [
        {
            "name": "tiny",
            "base_digest": _SHA,
            "tokenizer_sha256": _SHA,
            "chat_template_sha256": _SHA,
            "validated_on": ["none"],
            "adapters": [
                {"type": "lora", "path": "weights/tiny", "r": 8, "alpha": 16, "target_modules": ["q_proj"]},
            ],
        }
    ],
    "routing": {"description": "Questions about SQL."},
    "composition": {"category": "tech", "load_order": 5},
}


def changed(path: str, value: Any) -> bytes:
    """The minimal manifest with one value set; `path` is dotted, numbers are list positions."""
    manifest = json.loads(json.dumps(MINIMAL))
    place: Any = manifest
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in steps:
        place = place[step]
    place[last] = value
    return json.dumps(manifest).encode()


def test_a_minimal_manifest_is_read_and_written_back_the_same() -> None:
    """formats.md 1.1: what is written is what was read."""
    manifest = parse_manifest(json.dumps(MINIMAL).encode())
    assert manifest == parse_manifest(dump_manifest(manifest))
    assert dump_manifest(manifest).startswith(b'{\n  "schema_version": "2.0"')


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("colour", "red", r"colour: Extra inputs"),
        ("base_models.0.adapters.0.rank", 8, r"base_models\[0\]\.adapters\[0\]\.rank: Extra inputs"),
        ("schema_version", "1.0", "schema_version"),
        ("name", "sql", "name: String should match"),
        ("name", "expert-" + "a" * 60, "name"),
        ("version", "1.0", "version"),
        ("license", "Do What You Want", "SPDX"),
        ("license", "mit", "write the licence as 'MIT'"),
        ("created_at", "2026-01-01", "created_at"),
        ("created_at", "2026-13-01T00:00:00Z", "created_at"),
        ("capabilities", ["json"], r"capabilities\[0\]"),
        ("composition.load_order", 7, "load_order of a tech expert must be 5 or 6"),
        ("composition.weight", 0, "composition.weight"),
        ("composition.requires", ["expert-x@latest"], "not a range of versions"),
        ("composition.requires", ["expert-sql@*"], "names the expert itself"),
        ("composition.max_chain", 11, "max_chain"),
        ("decoding", {"temperature": 2.5}, "temperature"),
        ("decoding", {"temperature": "0"}, "temperature"),
        ("base_models", [], "base_models"),
        ("base_models.0.adapters.0.path", "weights/../../etc", "path"),
        ("base_models.0.adapters.0.path", "/etc", "path"),
        ("base_models.0.adapters.0.r", None, "r is missing in a lora adapter"),
        ("base_models.0.adapters.0.num_virtual_tokens", 8, "num_virtual_tokens does not belong"),
        ("base_models.0.prompt_template", "no place", "exactly once"),
        ("base_models.0.validated_on", ["int2"], "validated_on"),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_its_json_path(path: str, value: Any, words: str) -> None:
    """formats.md 1.1: unknown keys and wrong values are errors, with the JSON path in the message."""
    with pytest.raises(PackageError, match=words):
        parse_manifest(changed(path, value))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b'{"name": 1, "name": 2}', "stands twice"),
        (b"[" * 100_000, "not JSON"),
        (b" " * (1024 * 1024 + 1), "larger than"),
        (b"[]", "the manifest"),
    ],
)
def test_bytes_that_are_no_manifest_are_refused(data: bytes, words: str) -> None:
    """formats.md 1.1."""
    with pytest.raises(PackageError, match=words):
        parse_manifest(data)


def test_a_folder_without_a_manifest_is_told_apart(tmp_path: Path) -> None:
    """The message says what to check."""
    with pytest.raises(PackageError, match=r"is this an expert's folder\?"):
        read_manifest(tmp_path)


def test_the_committed_schema_is_the_one_of_the_code() -> None:
    """formats.md 1.1: the JSON Schema is generated; run `python -m expert_system.package.schema`."""
    committed = Path(__file__).resolve().parents[2] / SCHEMA_FILE
    assert committed.read_text() == schema()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)


def _paths(value: Any, below: str = "") -> list[str]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    found: list[str] = []
    for key, inner in items:
        found += [f"{below}{key}", *_paths(inner, f"{below}{key}.")]
    return found


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_no_bytes_make_the_reader_raise_anything_but_our_own_error(data: bytes) -> None:
    """Issue A5: property test on the manifest reader."""
    _read_or_refuse(data)


@given(st.sampled_from(_paths(MINIMAL)), _JSON)
def test_no_value_in_any_place_makes_the_reader_raise_anything_else(path: str, value: Any) -> None:
    """Issue A5: the same, near a valid manifest."""
    _read_or_refuse(changed(path, value))


def _read_or_refuse(data: bytes) -> None:
    with suppress(PackageError):
        assert isinstance(parse_manifest(data), Manifest)

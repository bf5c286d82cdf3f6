"""The encoder reads any text in bounded time, and only from files that are what they were."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expert_system.errors import ConfigError
from expert_system.routing.encoder import HEADS, Encoder
from expert_system.routing.interface import NEED, NEEDED, NONE

MODEL = Path(__file__).resolve().parents[2] / "router_models" / "v2"


@cache
def shipped() -> Encoder:
    """The shipped encoder, loaded once; property tests cannot take a fixture."""
    return Encoder.load(MODEL)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """The shipped encoder."""
    return shipped()


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder with the shipped files, to be spoilt."""
    folder = tmp_path / "v1"
    folder.mkdir()
    for file in MODEL.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_a_reading_has_a_unit_embedding_and_a_distribution_for_each_head(encoder: Encoder) -> None:
    """Reading: (dimension,) of length 1; the probabilities of each head sum to 1 and include "none"."""
    reading = encoder.read("List all customers of Lisbon by revenue")

    assert (encoder.dimension,) == reading.embedding.shape
    assert pytest.approx(1.0, abs=1e-4) == float(np.linalg.norm(reading.embedding))
    assert set(HEADS) == reading.probabilities.keys()
    for labels in reading.probabilities.values():
        assert NONE in labels
        assert pytest.approx(1.0, abs=1e-4) == sum(labels.values())
    assert {NEEDED, NONE} == reading.probabilities[NEED].keys()


def test_the_heads_speak_the_words_of_manifests(encoder: Encoder) -> None:
    """Labels are values of capabilities: format "json", technology "sql", task "grammar-correction"."""
    known = encoder.read("x").probabilities

    assert "json" in known["format"]
    assert {"sql", "cypher"} <= known["technology"].keys()
    assert {"extraction", "classification", "grammar-correction"} <= known["task"].keys()
    assert "en" in known["language"]


def test_rows_of_embed_do_not_depend_on_each_other(encoder: Encoder) -> None:
    """An expert's descriptors have the same vectors whoever is embedded beside it."""
    texts = ["write sql", "a poem about the sea and the lighthouse", "write sql"]

    together = encoder.embed(texts)

    assert (3, encoder.dimension) == together.shape
    np.testing.assert_array_equal(together[0], together[2])
    np.testing.assert_array_equal(together[1], encoder.embed(texts[1:2])[0])
    np.testing.assert_array_equal(together[1], encoder.read(texts[1]).embedding)


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(), max_size=400))
def test_no_text_raises(text: str) -> None:
    """Random characters, control characters and lone surrogates are read like any text."""
    assert bool(np.isfinite(shipped().read(text).embedding).all())


def test_a_megabyte_is_read_in_a_bounded_window(encoder: Encoder) -> None:
    """The length of a text hardly matters: no more than max_tokens ids are computed."""
    text = "The engine said nothing of it today. " * 30_000
    encoder.read(text)
    started = time.process_time()

    encoder.read(text)

    assert time.process_time() - started < 0.5


def test_loading_takes_less_than_a_second_and_no_torch() -> None:
    """Issue A6: loading below 1 s of work; torch is not imported."""
    program = (
        "import sys, time; from pathlib import Path; from expert_system.routing.encoder import Encoder\n"
        "import onnxruntime, tokenizers\n"
        "started = time.process_time(); Encoder.load(Path(sys.argv[1])).read('x'); print(time.process_time() - started)\n"
        "print('torch' in sys.modules)"
    )

    seconds, torch = subprocess.run(
        [sys.executable, "-c", program, str(MODEL)], capture_output=True, text=True, check=True
    ).stdout.split()

    assert float(seconds) < 1.0
    assert "False" == torch


@pytest.mark.parametrize("name", ["encoder.onnx", "encoder.json", "tokenizer.json", "calibration.json"])
def test_a_flipped_byte_is_refused(copied: Path, name: str) -> None:
    """Every file is held against checksums.json."""
    data = bytearray((copied / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / name).write_bytes(data)

    with pytest.raises(ConfigError, match=name):
        Encoder.load(copied)


def test_a_file_without_a_checksum_is_refused(copied: Path) -> None:
    """A file that checksums.json does not name is not used."""
    sums = json.loads((copied / "checksums.json").read_text())
    del sums["encoder.onnx"]
    (copied / "checksums.json").write_text(json.dumps(sums))

    with pytest.raises(ConfigError, match=r"encoder\.onnx"):
        Encoder.load(copied)


def test_a_folder_without_a_model_says_so(tmp_path: Path) -> None:
    """The error names the file and asks whether this is a router model's folder."""
    with pytest.raises(ConfigError, match=r"checksums\.json.*router model's folder"):
        Encoder.load(tmp_path)

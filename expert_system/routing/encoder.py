"""The router's sentence encoder: a small ONNX model on one thread, torch-free.

    text -> excerpt -> token ids (bounded) -> encoder.onnx -> Reading (embedding, probabilities of each head)

Promise: every file of the folder is held against its sha256 before it is used, no text of any content or size raises,
and the same text gives the same reading.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from expert_system.errors import ConfigError
from expert_system.package.fields import Part
from expert_system.routing.windows import excerpt, within

if TYPE_CHECKING:
    from tokenizers import Tokenizer

HEADS = ("format", "language", "technology", "task", "need")
CHECKSUMS_FILE = "checksums.json"
ENCODER_FILES = ("encoder.json", "encoder.onnx", "tokenizer.json")
"""What the encoder's digest covers; calibration and card may change without it."""
MAX_FILE_BYTES = 256 * 1024 * 1024

Floats = NDArray[np.float32]


class Shape(Part):
    """`encoder.json`: how the model is to be used."""

    schema_version: Literal["1"] = "1"
    version: Annotated[str, Field(min_length=1, max_length=64)]
    dimension: Annotated[int, Field(ge=1, le=4096)]
    """Length of an embedding."""
    max_tokens: Annotated[int, Field(ge=4, le=512)]
    """Token ids of one reading, the two at the ends included."""
    heads: dict[str, tuple[str, ...]]
    """Head -> its labels, in the order of the model's output of that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the encoder makes of one text."""

    embedding: Floats
    """(dimension,), unit length."""
    probabilities: Mapping[str, Mapping[str, float]]
    """Head -> label -> probability."""


class Encoder:
    """A sentence encoder with classifier heads."""

    def __init__(self, shape: Shape, session: Any, tokenizer: Tokenizer, digest: str) -> None:
        """Use `Encoder.load`."""
        self.version = shape.version
        self.digest = digest
        self.dimension = shape.dimension
        self._shape = shape
        self._session = session
        self._tokenizer = tokenizer
        self._outputs = ["embedding", *HEADS]

    @classmethod
    def load(cls, folder: Path) -> Encoder:
        """Check and load a router model's folder.

        Raises:
            ConfigError: a file is missing, is not the one that `checksums.json` names, or does not fit the others.
        """
        import onnxruntime
        from tokenizers import Tokenizer

        files = checked_files(folder)
        try:
            shape = Shape.model_validate_json(files["encoder.json"])
            tokenizer = Tokenizer.from_buffer(files["tokenizer.json"])
        except ValidationError as error:
            raise ConfigError(f"{folder / 'encoder.json'}: {error.errors()[0]['msg']}") from None
        except Exception as error:  # noqa: BLE001 - tokenizers raises bare Exception
            raise ConfigError(f"{folder / 'tokenizer.json'}: no tokenizer: {error}") from None
        if missing := [head for head in HEADS if not shape.heads.get(head)]:
            raise ConfigError(f"{folder / 'encoder.json'}: no labels for the head {missing[0]!r}")
        tokenizer.no_padding()
        tokenizer.no_truncation()
        options = onnxruntime.SessionOptions()
        # One thread: beside a busy engine a second would wait for a core that the engine holds.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(files["encoder.onnx"], options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - onnxruntime's errors share no base of their own
            raise ConfigError(f"{folder / 'encoder.onnx'}: cannot be loaded: {error}") from None
        digest = hashlib.sha256(
            "\n".join(f"{name} {hashlib.sha256(files[name]).hexdigest()}" for name in ENCODER_FILES).encode()
        )
        return cls(shape, session, tokenizer, digest.hexdigest())

    def read(self, text: str) -> Reading:
        """Embed and classify one text of any length; a long one through its excerpt."""
        ids = np.array([self._ids(text)], dtype=np.int64)
        embedding, *probabilities = self._session.run(self._outputs, {"ids": ids})
        return Reading(
            embedding=embedding[0],
            probabilities={
                head: dict(zip(self._shape.heads[head], map(float, row[0]), strict=True))
                for head, row in zip(HEADS, probabilities, strict=True)
            },
        )

    def embed(self, texts: Sequence[str]) -> Floats:
        """(n, dimension), each row of unit length; a text's row does not depend on the others."""
        found = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for place, text in enumerate(texts):
            # One by one: activations are quantised by the range of the whole batch.
            (row,) = self._session.run(["embedding"], {"ids": np.array([self._ids(text)], dtype=np.int64)})
            found[place] = row[0]
        return found

    def _ids(self, text: str) -> list[int]:
        clean = excerpt(text).encode("utf-8", "ignore").decode("utf-8")  # lone surrogates are no text
        ids = self._tokenizer.encode(clean).ids
        first, *inner, last = ids
        return [first, *within(inner, self._shape.max_tokens - 2), last]


def checked_files(folder: Path) -> dict[str, bytes]:
    """Read every file that `checksums.json` names, each held against its sha256.

    Raises:
        ConfigError: one is missing, too large or another; or a file of the encoder is not named.
    """
    try:
        expected = json.loads(_bytes_of(folder / CHECKSUMS_FILE))
    except ValueError:
        expected = None
    if not isinstance(expected, dict) or not all(isinstance(value, str) for value in expected.values()):
        raise ConfigError(f"{folder / CHECKSUMS_FILE}: not a JSON object of file names and sha256")
    files = {}
    for name in sorted({*expected, *ENCODER_FILES}):
        if name not in expected or Path(name).name != name:
            raise ConfigError(f"{folder / CHECKSUMS_FILE}: {name} is not listed as it should be")
        files[name] = _bytes_of(folder / name)
        if hashlib.sha256(files[name]).hexdigest() != expected[name]:
            raise ConfigError(f"{folder / name} is not the file that {CHECKSUMS_FILE} names; take the folder anew")
    return files


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; is this a router model's folder?") from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    return data

"""What a base model is: the digests that experts bind to, and the shapes that adapters must fit (formats.md 1.3).

    folder -> safetensors headers + data -> base digest -> BaseDescription (kept in base.json)

Promise: two folders with the same unquantised weights have the same digest, however they are sharded.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import rfc8785

from expert_system.domain import Digest
from expert_system.errors import ConfigError, PackageError
from expert_system.package.binding import Quantization
from expert_system.package.tensors import read_tensors

CACHE_FILE = "base.json"
PREPARED_FILE = "prepared.json"
CACHE_VERSION = 1
MAX_CONFIG_BYTES = 64 * 1024 * 1024
"""Of config.json, tokenizer.json and their like; Qwen's tokenizer has 11 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The figures that decide the shapes of a base's linear layers."""

    model_type: str
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseDescription:
    """One base model on this node."""

    name: str
    path: Path
    base_digest: Digest
    """Of this folder's weights as they are."""
    derived_from: Digest | None
    """The digest of the unquantised weights that a prepared base was made from."""
    tokenizer_sha256: str
    chat_template_sha256: str
    """Of the template's UTF-8 text; that of no bytes for a base without one."""
    quantization: Quantization
    architecture: Architecture

    @property
    def binding(self) -> Digest:
        """What an expert's `base_digest` must equal."""
        return self.derived_from or self.base_digest


def describe_base(path: Path) -> BaseDescription:
    """Describe the base in a folder; hashes its weights once and keeps the result in base.json beside them.

    Symbolic links are followed, as in the Hugging Face cache. A folder that cannot be written is described every time.

    Raises:
        ConfigError: the folder holds no base in safetensors, or its config.json lacks a figure.
    """
    folder = path.resolve()
    try:
        weights = _weight_files(folder)
        config = _read_json(folder / "config.json")
        stamp = _stamp(folder, weights)
        return _read_cache(folder, stamp) or _describe(folder, weights, config, stamp)
    except (OSError, PackageError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: not a base model that can be served: {error}; it needs config.json, tokenizer.json and safetensors"
        ) from error


def prepared_file(derived_from: Digest, method: str, quantization: Quantization) -> bytes:
    """The content of prepared.json, which the tool that dequantises or quantises a base writes into its folder."""
    values = {"derived_from": derived_from, "method": method, "quantization": quantization.value}
    return (json.dumps(values, indent=2) + "\n").encode()


def weights_digest(files: list[Path]) -> Digest:
    """sha256 of the RFC 8785 list of {tensor, dtype, shape, sha256}, ordered by tensor name (code points)."""
    entries = [entry for file in files for entry in _hash_tensors(file)]
    entries.sort(key=lambda entry: entry["tensor"])
    names = {entry["tensor"] for entry in entries}
    if len(names) != len(entries):
        raise PackageError("a tensor stands in two of the files")
    return Digest(hashlib.sha256(rfc8785.dumps(entries)).hexdigest())


def _hash_tensors(file: Path) -> list[dict[str, Any]]:
    tensors = read_tensors(file)
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        view = memoryview(data)
        try:
            return [
                {
                    "tensor": tensor.name,
                    "dtype": tensor.dtype,
                    "shape": list(tensor.shape),
                    "sha256": hashlib.sha256(view[tensor.start : tensor.end]).hexdigest(),
                }
                for tensor in tensors
            ]
        finally:
            view.release()


def _describe(folder: Path, weights: list[Path], config: dict[str, Any], stamp: dict[str, Any]) -> BaseDescription:
    prepared = _read_json(folder / PREPARED_FILE) if (folder / PREPARED_FILE).is_file() else {}
    description = BaseDescription(
        name=_name(folder),
        path=folder,
        base_digest=weights_digest(weights),
        derived_from=prepared.get("derived_from"),
        tokenizer_sha256=hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest(),
        chat_template_sha256=hashlib.sha256(_chat_template(folder).encode()).hexdigest(),
        quantization=Quantization(prepared["quantization"]) if prepared else _quantization(config),
        architecture=_architecture(config),
    )
    _write_cache(folder, stamp, description)
    return description


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return [folder / "model.safetensors"]
    names = set(_read_json(index)["weight_map"].values())
    if any(Path(name).name != name for name in names):
        raise PackageError(f"{index.name} names a file outside the folder")
    return sorted(folder / name for name in names)


def _name(folder: Path) -> str:
    """The folder's name; in the Hugging Face cache that of the repository, `models--Qwen--Qwen3-0.6B/snapshots/<commit>`."""
    if folder.parent.name == "snapshots":
        return folder.parent.parent.name.removeprefix("models--").split("--")[-1].lower()
    return folder.name


def _chat_template(folder: Path) -> str:
    """The template's text, found where transformers finds it; "" for a base without one."""
    own = folder / "chat_template.jinja"
    if own.is_file():
        return own.read_text(encoding="utf-8")
    settings = folder / "tokenizer_config.json"
    template = _read_json(settings).get("chat_template") if settings.is_file() else None
    return template if isinstance(template, str) else ""


def _quantization(config: dict[str, Any]) -> Quantization:
    """Read the number of bits from a checkpoint's own `quantization_config`."""
    settings = config.get("quantization_config")
    if not settings:
        return Quantization.NONE
    groups = settings.get("config_groups", {}).values()
    bits = {group["weights"]["num_bits"] for group in groups} or {settings.get("bits", settings.get("weight_bits"))}
    if settings.get("load_in_8bit"):
        bits = {8}
    if settings.get("load_in_4bit"):
        bits = {4}
    if bits == {8}:
        return Quantization.INT8
    if bits == {4}:
        return Quantization.INT4
    raise PackageError(f"quantization_config of method {settings.get('quant_method')!r} is neither 8 nor 4 bits")


def _architecture(config: dict[str, Any]) -> Architecture:
    text = config.get("text_config", config)
    heads = text["num_attention_heads"]
    return Architecture(
        model_type=text["model_type"],
        hidden_size=text["hidden_size"],
        intermediate_size=text["intermediate_size"],
        layers=text["num_hidden_layers"],
        heads=heads,
        kv_heads=text.get("num_key_value_heads") or heads,
        head_dim=text.get("head_dim") or text["hidden_size"] // heads,
        vocabulary=text["vocab_size"],
    )


def _stamp(folder: Path, weights: list[Path]) -> dict[str, Any]:
    """Sizes and times of everything that the description depends on."""
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", PREPARED_FILE)
    files = [*weights, *(folder / name for name in names if (folder / name).exists())]
    return {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in files}


def _read_cache(folder: Path, stamp: dict[str, Any]) -> BaseDescription | None:
    try:
        kept = _read_json(folder / CACHE_FILE)
        if kept["version"] != CACHE_VERSION or kept["files"] != stamp:
            return None
        values = kept["base"]
        return BaseDescription(
            **{**values, "quantization": Quantization(values["quantization"])}
            | {"path": folder, "architecture": Architecture(**values["architecture"])}
        )
    except (OSError, ValueError, KeyError, TypeError, PackageError):
        return None


def _write_cache(folder: Path, stamp: dict[str, Any], description: BaseDescription) -> None:
    values = asdict(description)
    del values["path"]
    aside = folder / f".{CACHE_FILE}.{os.getpid()}"
    try:
        aside.write_text(json.dumps({"version": CACHE_VERSION, "files": stamp, "base": values}, indent=2))
        aside.replace(folder / CACHE_FILE)
    except OSError:
        aside.unlink(missing_ok=True)


def _read_json(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        data = stream.read(MAX_CONFIG_BYTES + 1)
    if len(data) > MAX_CONFIG_BYTES:
        raise PackageError(f"{file.name} is larger than {MAX_CONFIG_BYTES} bytes")
    values = json.loads(data)
    if not isinstance(values, dict):
        raise PackageError(f"{file.name} is not a JSON object")
    return values

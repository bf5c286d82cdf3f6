"""Read one PEFT folder's bytes into the canonical form that every part of the engine computes with.

    adapter_config.json + adapter_model.safetensors -> checks -> tensors by module

Canonical names, for a module M of the checkpoint such as `model.layers.0.self_attn.q_proj` (r ranks):

    M.a        (r, inputs)     the down projection
    M.b        (r, outputs)    the up projection, transposed, with the scale alpha / r (or alpha / sqrt r) in it;
                               for DoRA also with the row gates g in it
    M.dora     (outputs,)      g - 1, where g = m / ||W + s B A|| by rows (DoRA, arXiv 2402.09353)
    M.ia3_out  (outputs,)      l - 1 for attention modules (IA³, arXiv 2205.05638)
    M.ia3_in   (inputs,)       l - 1 for feed-forward modules
    soft_prompt (tokens, hidden)

Promise: what comes out is finite, fits the base's shapes, and does something; anything else is an AdapterRefused
that names the tensor or the field.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from expert_system.errors import AdapterRefused, PackageError
from expert_system.package.adapter_config import AdapterConfig, parse_adapter_config
from expert_system.package.binding import AdapterType
from expert_system.package.tensors import Tensor, parse_tensors

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
PREFIX = "base_model.model."
SOFT_PROMPT = "soft_prompt"
PACKED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Modules that vLLM packs into one layer, in the families of Llama and Qwen."""

_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_SUFFIXES = {
    AdapterType.LORA: (".lora_A.weight", ".lora_B.weight"),
    AdapterType.DORA: (".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"),
    AdapterType.IA3: (".ia3_l",),
}
_LINEAR_ONLY = ("embed_tokens", "lm_head")

RowNorms = Callable[[str, Callable[[], torch.Tensor]], torch.Tensor]
"""(module, what gives the change of its weight (outputs, inputs)) -> ||W + change|| by rows, FP32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseShapes:
    """What an adapter's shapes are checked against."""

    linear: Mapping[str, tuple[int, int]]
    """(outputs, inputs) of every linear module of the base's checkpoint."""
    hidden_size: int


def read_adapter(
    config_bytes: bytes, weights: bytes, shapes: BaseShapes, *, where: str, row_norms: RowNorms
) -> dict[str, torch.Tensor]:
    """Turn a PEFT folder's bytes into canonical tensors in FP32.

    Args:
        config_bytes: adapter_config.json.
        weights: adapter_model.safetensors.
        shapes: the base's.
        where: what to call the adapter in messages.
        row_norms: needed for DoRA only.

    Raises:
        AdapterRefused: it cannot be served; the message names the tensor or the field.
    """
    config = parse_adapter_config(config_bytes, where=f"{where}/{CONFIG_FILE}")
    try:
        entries = parse_tensors(weights, where=f"{where}/{WEIGHTS_FILE}")
    except PackageError as error:
        raise AdapterRefused(str(error)) from None
    if config.type is AdapterType.SOFT_PROMPT:
        return {SOFT_PROMPT: _soft_prompt(entries, weights, config, shapes, where)}
    grouped = _by_module(entries, config, shapes, where)
    loaded = {
        module: {suffix: _load(entry, weights, where) for suffix, entry in found.items()}
        for module, found in grouped.items()
    }
    if config.type is AdapterType.IA3:
        return _ia3(loaded, config, shapes, where)
    return _low_rank(loaded, config, shapes, where, row_norms)


def _by_module(
    entries: tuple[Tensor, ...], config: AdapterConfig, shapes: BaseShapes, where: str
) -> dict[str, dict[str, Tensor]]:
    """Group a file's tensors by module, refusing whatever the base or the kind has no place for."""
    suffixes = _SUFFIXES[config.type]
    grouped: dict[str, dict[str, Tensor]] = {}
    for entry in entries:
        name = entry.name.removeprefix(PREFIX)
        suffix = next((suffix for suffix in suffixes if name.endswith(suffix)), None)
        module = name.removesuffix(suffix) if suffix else name
        if any(f".{part}." in f".{name}." for part in _LINEAR_ONLY):
            raise AdapterRefused(f"{where}: tensor {entry.name!r} adapts the vocabulary; only linear layers are served")
        if suffix is None or module not in shapes.linear:
            raise AdapterRefused(f"{where}: tensor {entry.name!r} matches no linear module of the base")
        grouped.setdefault(module, {})[suffix] = entry
    if not grouped:
        raise AdapterRefused(f"{where}: {WEIGHTS_FILE} holds no tensors")
    for module, found in grouped.items():
        for suffix in suffixes:
            if suffix not in found:
                raise AdapterRefused(f"{where}: module {module} has no tensor {suffix.removeprefix('.')!r}")
    return grouped


def _load(entry: Tensor, weights: bytes, where: str) -> torch.Tensor:
    dtype = _DTYPES.get(entry.dtype)
    if dtype is None:
        raise AdapterRefused(f"{where}: tensor {entry.name!r} is {entry.dtype}; use F32, F16 or BF16")
    if entry.end == entry.start:
        raise AdapterRefused(f"{where}: tensor {entry.name!r} is empty")
    # A copy, so that the tensor may be written to and the file's buffer can go.
    flat = torch.frombuffer(bytearray(memoryview(weights)[entry.start : entry.end]), dtype=dtype)
    tensor = flat.reshape(entry.shape).float()
    if not torch.isfinite(tensor).all():
        raise AdapterRefused(f"{where}: tensor {entry.name!r} holds NaN or infinite values")
    return tensor


def _expect(where: str, name: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if found != wanted:
        raise AdapterRefused(
            f"{where}: tensor {name!r} has shape {list(found)}, the base and the rank want {list(wanted)}"
        )


def _low_rank(
    loaded: Mapping[str, Mapping[str, torch.Tensor]],
    config: AdapterConfig,
    shapes: BaseShapes,
    where: str,
    row_norms: RowNorms,
) -> dict[str, torch.Tensor]:
    canonical: dict[str, torch.Tensor] = {}
    does_something = False
    for module, tensors in loaded.items():
        outputs, inputs = shapes.linear[module]
        rank = config.rank(module)
        a, b = tensors[".lora_A.weight"], tensors[".lora_B.weight"]
        _expect(where, f"{module}.lora_A.weight", tuple(a.shape), (rank, inputs))
        _expect(where, f"{module}.lora_B.weight", tuple(b.shape), (outputs, rank))
        does_something = does_something or bool(b.any() and a.any())
        scaled = b * config.scale(module)
        if config.type is AdapterType.DORA:
            magnitude = tensors[".lora_magnitude_vector"]
            _expect(where, f"{module}.lora_magnitude_vector", tuple(magnitude.shape), (outputs,))
            gate = magnitude / row_norms(module, functools.partial(torch.matmul, scaled, a))
            canonical[f"{module}.dora"] = gate - 1.0
            scaled = gate.unsqueeze(1) * scaled
            does_something = does_something or bool((gate != 1.0).any())
        canonical[f"{module}.a"] = a
        canonical[f"{module}.b"] = scaled.t().contiguous()
    if not does_something:
        raise AdapterRefused(
            f"{where}: every lora_B or lora_A is all zeros, so the adapter does nothing; train it first"
        )
    return canonical


def _ia3(
    loaded: Mapping[str, Mapping[str, torch.Tensor]], config: AdapterConfig, shapes: BaseShapes, where: str
) -> dict[str, torch.Tensor]:
    canonical: dict[str, torch.Tensor] = {}
    for module, tensors in loaded.items():
        outputs, inputs = shapes.linear[module]
        vector = tensors[".ia3_l"]
        feedforward = any(f".{module}".endswith(f".{name}") for name in config.feedforward_modules)
        wanted = (1, inputs) if feedforward else (outputs, 1)
        _expect(where, f"{module}.ia3_l", tuple(vector.shape), wanted)
        canonical[f"{module}.ia3_{'in' if feedforward else 'out'}"] = vector.flatten() - 1.0
    _same_inputs(canonical, shapes, where)
    if not any(difference.any() for difference in canonical.values()):
        raise AdapterRefused(f"{where}: every ia3_l is all ones, so the adapter does nothing; train it first")
    return canonical


def _same_inputs(canonical: Mapping[str, torch.Tensor], shapes: BaseShapes, where: str) -> None:
    """Refuse input gates that differ between modules which vLLM packs into one layer: they share one input."""
    for name, gate in canonical.items():
        module, _, kind = name.rpartition(".")
        parent, _, own = module.rpartition(".")
        siblings = next((group for group in PACKED if own in group), ())
        if kind != "ia3_in":
            continue
        for sibling in siblings:
            other = f"{parent}.{sibling}"
            if other in shapes.linear and not _equal(gate, canonical.get(f"{other}.ia3_in")):
                raise AdapterRefused(
                    f"{where}: the input gate of {module} differs from that of {other}, but vLLM computes both"
                    " from one packed input; train ia3_l on down_proj or on the outputs instead"
                )


def _equal(gate: torch.Tensor, other: torch.Tensor | None) -> bool:
    return other is not None and torch.equal(gate, other)


def _soft_prompt(
    entries: tuple[Tensor, ...], weights: bytes, config: AdapterConfig, shapes: BaseShapes, where: str
) -> torch.Tensor:
    if [entry.name for entry in entries] != ["prompt_embeddings"]:
        names = ", ".join(entry.name for entry in entries[:5])
        raise AdapterRefused(f"{where}: a soft prompt holds the one tensor prompt_embeddings, not {names or 'none'}")
    prompt = _load(entries[0], weights, where)
    _expect(where, "prompt_embeddings", tuple(prompt.shape), (config.num_virtual_tokens, shapes.hidden_size))
    if not prompt.any():
        raise AdapterRefused(f"{where}: prompt_embeddings is all zeros; train it first")
    return prompt

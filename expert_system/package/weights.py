"""Whether an adapter's tensors are what its configuration, its manifest and its base say (formats.md 1.3, 2.4).

    adapter_config.json + safetensors header + manifest entry + base -> AdapterSummary

Promise: only headers are read; an adapter that passes has the shapes that the engine will copy, module by module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from expert_system.errors import AdapterRefused, PackageError
from expert_system.package.adapter_config import AdapterConfig, read_adapter_config
from expert_system.package.base import Architecture
from expert_system.package.binding import Adapter, AdapterType
from expert_system.package.tensors import Tensor, read_tensors

WEIGHTS_FILE = "adapter_model.safetensors"
SERVED_TYPES = frozenset({"F32", "F16", "BF16"})
SOFT_PROMPT_TENSOR = "prompt_embeddings"
PEFT_PREFIX = "base_model.model."

_LAYER = re.compile(r"model\.layers\.(0|[1-9]\d{0,3})\.(self_attn|mlp)\.([a-z]+_proj)")
_ENDINGS = {
    ".lora_A.weight": "A",
    ".lora_B.weight": "B",
    ".lora_magnitude_vector": "magnitude",
    ".lora_magnitude_vector.weight": "magnitude",
    ".ia3_l": "gate",
}
_PARTS = {
    AdapterType.LORA: {"A", "B"},
    AdapterType.DORA: {"A", "B", "magnitude"},
    AdapterType.IA3: {"gate"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSummary:
    """What the system needs to know of an adapter before its weights are loaded."""

    type: AdapterType
    path: str
    """The PEFT folder inside the package."""
    ranks: Mapping[str, int]
    """Module, such as model.layers.0.self_attn.q_proj, to rank; empty for IA³ and soft prompts."""
    scales: Mapping[str, float]
    """Module to alpha / r (or alpha / sqrt(r))."""
    modules: frozenset[str]
    """The modules that the adapter touches."""
    virtual_tokens: int
    size_bytes: int
    """Of the tensors' data, as stored."""

    @property
    def rank(self) -> int:
        """The largest rank of any module."""
        return max(self.ranks.values(), default=0)


def linear_shapes(base: Architecture) -> dict[str, tuple[int, int]]:
    """The (outputs, inputs) of each linear layer that an adapter may touch, by its place in a decoder layer."""
    queries, keys = base.heads * base.head_dim, base.kv_heads * base.head_dim
    return {
        "self_attn.q_proj": (queries, base.hidden_size),
        "self_attn.k_proj": (keys, base.hidden_size),
        "self_attn.v_proj": (keys, base.hidden_size),
        "self_attn.o_proj": (base.hidden_size, queries),
        "mlp.gate_proj": (base.intermediate_size, base.hidden_size),
        "mlp.up_proj": (base.intermediate_size, base.hidden_size),
        "mlp.down_proj": (base.hidden_size, base.intermediate_size),
    }


def read_adapter(package: Path, declared: Adapter, base: Architecture | None) -> AdapterSummary:
    """Check one adapter of a package against its manifest entry and, when it is known, its base.

    Raises:
        AdapterRefused: the message names the option or tensor that cannot be served.
    """
    folder = package / declared.path
    config = read_adapter_config(folder)
    try:
        tensors = read_tensors(folder / WEIGHTS_FILE)
    except PackageError as error:
        raise AdapterRefused(str(error)) from None
    return check_adapter(config, tensors, declared, base)


def check_adapter(
    config: AdapterConfig, tensors: tuple[Tensor, ...], declared: Adapter, base: Architecture | None
) -> AdapterSummary:
    """The decision behind `read_adapter`, on what was read."""
    where = declared.path
    _check_declaration(config, declared)
    for tensor in tensors:
        if tensor.dtype not in SERVED_TYPES:
            raise AdapterRefused(f"{where}: tensor {tensor.name!r} is {tensor.dtype}; use F32, F16 or BF16")
    if config.type is AdapterType.SOFT_PROMPT:
        modules: dict[str, dict[str, tuple[int, ...]]] = {}
        _check_soft_prompt(config, tensors, base, where)
    else:
        modules = _modules(config, tensors, where)
        for module, parts in modules.items():
            _check_module(module, parts, config, base, where)
    ranked = modules if config.r else {}
    return AdapterSummary(
        type=config.type,
        path=declared.path,
        ranks={module: config.rank(module) for module in ranked},
        scales={module: config.scale(module) for module in ranked},
        modules=frozenset(modules),
        virtual_tokens=config.num_virtual_tokens,
        size_bytes=sum(tensor.end - tensor.start for tensor in tensors),
    )


def _check_declaration(config: AdapterConfig, declared: Adapter) -> None:
    """The manifest must say what adapter_config.json says."""
    pairs = {
        "type": (declared.type, config.type),
        "r": (declared.r or 0, config.r),
        "alpha": (declared.alpha or 0.0, config.alpha),
        "target_modules": (sorted(declared.target_modules), sorted(config.target_modules)),
        "use_rslora": (declared.use_rslora, config.use_rslora),
        "num_virtual_tokens": (declared.num_virtual_tokens or 0, config.num_virtual_tokens),
    }
    for field, (manifest, adapter) in pairs.items():
        if manifest != adapter:
            raise AdapterRefused(
                f"{declared.path}: {field} is {manifest} in manifest.json and {adapter} in adapter_config.json"
            )


def _modules(config: AdapterConfig, tensors: tuple[Tensor, ...], where: str) -> dict[str, dict[str, tuple[int, ...]]]:
    """Group tensors by module: module -> part -> shape; every target must occur."""
    modules: dict[str, dict[str, tuple[int, ...]]] = {}
    for tensor in tensors:
        ending = next((ending for ending in _ENDINGS if tensor.name.endswith(ending)), None)
        if ending is None or not tensor.name.startswith(PEFT_PREFIX):
            raise AdapterRefused(f"{where}: tensor {tensor.name!r} is not part of a {config.type} adapter")
        module = tensor.name[len(PEFT_PREFIX) : -len(ending)]
        if not any(f".{module}".endswith(f".{target}") for target in config.target_modules):
            raise AdapterRefused(f"{where}: tensor {tensor.name!r} belongs to no module of target_modules")
        parts = modules.setdefault(module, {})
        if _ENDINGS[ending] in parts:
            raise AdapterRefused(f"{where}: module {module!r} has two tensors for {_ENDINGS[ending]}")
        parts[_ENDINGS[ending]] = tensor.shape
    for target in sorted(config.target_modules):
        if not any(f".{module}".endswith(f".{target}") for module in modules):
            raise AdapterRefused(f"{where}: target_modules names {target!r}, but no tensor belongs to it")
    return modules


def _check_module(
    module: str, parts: dict[str, tuple[int, ...]], config: AdapterConfig, base: Architecture | None, where: str
) -> None:
    expected = _PARTS[config.type]
    if set(parts) != expected:
        raise AdapterRefused(
            f"{where}: module {module!r} has {', '.join(sorted(parts))}; a {config.type} adapter needs {', '.join(sorted(expected))}"
        )
    place = _LAYER.fullmatch(module)
    if place is None or (base is not None and int(place[1]) >= base.layers):
        raise AdapterRefused(
            f"{where}: {module!r} is no linear layer of the base; adapt attention and MLP projections only"
        )
    outputs, inputs = _shape_of(module, f"{place[2]}.{place[3]}", parts, base, where)
    rank = config.rank(module)
    feedforward = any(f".{module}".endswith(f".{name}") for name in config.feedforward_modules)
    wanted = {
        "A": (rank, inputs),
        "B": (outputs, rank),
        "magnitude": (outputs,),
        "gate": (1, inputs) if feedforward else (outputs, 1),
    }
    for part, shape in parts.items():
        if shape != wanted[part]:
            raise AdapterRefused(
                f"{where}: module {module!r} has {part} of shape {list(shape)}, "
                f"but its rank and the base's config need {list(wanted[part])}"
            )


def _shape_of(
    module: str, place: str, parts: dict[str, tuple[int, ...]], base: Architecture | None, where: str
) -> tuple[int, int]:
    """The (outputs, inputs) of the adapted layer; without its base, what the tensors themselves say."""
    if base is None:
        outputs = parts.get("B", parts.get("gate", (0,)))[0]
        inputs = parts.get("A", parts.get("gate", (0,)))[-1]
        return outputs, inputs
    shapes = linear_shapes(base)
    if place not in shapes:
        raise AdapterRefused(f"{where}: {module!r} is no linear layer of the base; there are {', '.join(shapes)}")
    return shapes[place]


def _check_soft_prompt(
    config: AdapterConfig, tensors: tuple[Tensor, ...], base: Architecture | None, where: str
) -> None:
    width = base.hidden_size if base is not None else config.token_dim
    if [tensor.name for tensor in tensors] != [SOFT_PROMPT_TENSOR]:
        raise AdapterRefused(f"{where}: a soft prompt holds exactly one tensor, {SOFT_PROMPT_TENSOR!r}")
    shape = tensors[0].shape
    if len(shape) != 2 or shape[0] != config.num_virtual_tokens or (width is not None and shape[1] != width):
        raise AdapterRefused(
            f"{where}: {SOFT_PROMPT_TENSOR} has shape {list(shape)}, "
            f"but num_virtual_tokens and the base's config need {[config.num_virtual_tokens, width]}"
        )
    if config.token_dim not in {None, shape[1]}:
        raise AdapterRefused(f"{where}: token_dim is {config.token_dim}, the tensor has {shape[1]}")

"""PEFT's adapter_config.json, read by allow-list (vllm.md, Decided 5).

    adapter_config.json -> AdapterConfig

Promise: an option that would change what the adapter computes, and that the engine does not honour, is refused by name.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from expert_system.errors import AdapterRefused
from expert_system.package.binding import MAX_RANK, MAX_VIRTUAL_TOKENS, AdapterType

Number = TypeVar("Number", int, float)

CONFIG_FILE = "adapter_config.json"
MAX_CONFIG_BYTES = 256 * 1024
MAX_PATTERNS = 4096
MAX_TOKEN_DIM = 65_536

_DESCRIPTIVE = {"peft_type", "task_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode"}  # fmt: skip
_HONOURED = {
    "LORA": {"r", "lora_alpha", "target_modules", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern"},
    "IA3": {"target_modules", "feedforward_modules"},
    "PROMPT_TUNING": {"num_virtual_tokens", "token_dim", "num_transformer_submodules"},
}
_ONLY_IN_TRAINING = {
    "LORA": {"lora_dropout", "init_lora_weights", "exclude_modules", "layers_to_transform", "layers_pattern"},
    "IA3": {"init_ia3_weights", "exclude_modules"},
    "PROMPT_TUNING": {
        "num_attention_heads",
        "num_layers",
        "prompt_tuning_init",
        "prompt_tuning_init_text",
        "tokenizer_name_or_path",
        "tokenizer_kwargs",
    },
}
"""They choose what is trained and how; the tensors show the outcome."""
_DEFAULTS: dict[str, Any] = {"bias": "none", "megatron_core": "megatron.core", "qalora_group_size": 16}
"""Defaults of PEFT 0.21 that are neither empty, zero nor false."""
_INITS_THAT_KEEP_THE_BASE = (True, False, "gaussian", "orthogonal", "eva")
"""The others, such as PiSSA, train against a changed base, which is not the base that we serve."""
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """The options of one adapter that decide what it computes."""

    type: AdapterType
    r: int = 0
    alpha: float = 0.0
    use_rslora: bool = False
    rank_pattern: Mapping[str, int]
    """Module name, or its end from a dot on, to rank; the first match in the file's order counts."""
    alpha_pattern: Mapping[str, float]
    target_modules: frozenset[str]
    feedforward_modules: frozenset[str]
    num_virtual_tokens: int = 0
    token_dim: int | None = None

    def rank(self, module: str) -> int:
        """The rank of one module, such as model.layers.0.self_attn.q_proj."""
        return _first_match(self.rank_pattern, module, self.r)

    def scale(self, module: str) -> float:
        """What B·A is multiplied with: alpha / r, or alpha / sqrt(r) for rank-stabilised LoRA."""
        rank = self.rank(module)
        return _first_match(self.alpha_pattern, module, self.alpha) / (math.sqrt(rank) if self.use_rslora else rank)


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Read the configuration of a PEFT folder.

    Raises:
        AdapterRefused: missing, unreadable, or with an option that cannot be served.
    """
    file = folder / CONFIG_FILE
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise AdapterRefused(f"{file}: cannot be read: {error.strerror}") from None
    return parse_adapter_config(data, where=str(file))


def parse_adapter_config(data: bytes, where: str = CONFIG_FILE) -> AdapterConfig:
    """Check the bytes of an adapter_config.json; `where` stands before the problem in messages."""
    if len(data) > MAX_CONFIG_BYTES:
        raise AdapterRefused(f"{where}: larger than {MAX_CONFIG_BYTES} bytes")
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise AdapterRefused(f"{where}: not JSON: {error}") from None
    if not isinstance(values, dict):
        raise AdapterRefused(f"{where}: not a JSON object")
    try:
        return _checked(values)
    except ValueError as error:
        raise AdapterRefused(f"{where}: {error}") from None


def _checked(values: dict[str, Any]) -> AdapterConfig:
    kind = values.get("peft_type")
    if not isinstance(kind, str) or kind not in _HONOURED:
        raise ValueError(f"peft_type {kind!r} is not served; use LORA (also DoRA), IA3 or PROMPT_TUNING")
    _refuse_unknown_options(kind, values)
    if values.get("task_type") not in (None, "CAUSAL_LM"):
        raise ValueError(f"task_type {values['task_type']!r} is not served; train with CAUSAL_LM")
    if kind == "PROMPT_TUNING":
        return _soft_prompt(values)
    targets = _module_names(values, "target_modules")
    if not targets:
        raise ValueError("target_modules is empty; list the names of the linear layers")
    if kind == "IA3":
        feedforward = _module_names(values, "feedforward_modules")
        if not feedforward <= targets:
            raise ValueError("feedforward_modules names a module that target_modules does not")
        return AdapterConfig(
            type=AdapterType.IA3,
            target_modules=targets,
            feedforward_modules=feedforward,
            rank_pattern={},
            alpha_pattern={},
        )
    if values.get("init_lora_weights", True) not in _INITS_THAT_KEEP_THE_BASE:
        raise ValueError(
            f"init_lora_weights {values['init_lora_weights']!r} trains against a changed base; convert it to plain LoRA"
        )
    ranks = _pattern(values, "rank_pattern")
    return AdapterConfig(
        type=AdapterType.DORA if _flag(values, "use_dora") else AdapterType.LORA,
        r=_whole(values, "r", MAX_RANK),
        alpha=_positive("lora_alpha", values.get("lora_alpha")),
        use_rslora=_flag(values, "use_rslora"),
        rank_pattern={name: _whole(ranks, name, MAX_RANK) for name in ranks},
        alpha_pattern={name: _positive(name, alpha) for name, alpha in _pattern(values, "alpha_pattern").items()},
        target_modules=targets,
        feedforward_modules=frozenset(),
    )


def _soft_prompt(values: dict[str, Any]) -> AdapterConfig:
    if values.get("num_transformer_submodules") not in (None, 1):
        raise ValueError("num_transformer_submodules must be 1")
    if values.get("token_dim") is not None:
        _whole(values, "token_dim", MAX_TOKEN_DIM)
    return AdapterConfig(
        type=AdapterType.SOFT_PROMPT,
        num_virtual_tokens=_whole(values, "num_virtual_tokens", MAX_VIRTUAL_TOKENS),
        token_dim=values.get("token_dim"),
        target_modules=frozenset(),
        feedforward_modules=frozenset(),
        rank_pattern={},
        alpha_pattern={},
    )


def _refuse_unknown_options(kind: str, values: dict[str, Any]) -> None:
    known = _DESCRIPTIVE | _HONOURED[kind] | _ONLY_IN_TRAINING[kind]
    for option, value in values.items():
        if option not in known and value and value != _DEFAULTS.get(option):
            raise ValueError(f"{option} = {json.dumps(value)[:80]} is not served; train without it")


def _module_names(values: dict[str, Any], option: str) -> frozenset[str]:
    names = values.get(option) or []
    if not isinstance(names, list) or not all(isinstance(name, str) and _PLAIN_NAME.fullmatch(name) for name in names):
        raise ValueError(f"{option} must be a list of module names; regular expressions are not served")
    return frozenset(names)


def _pattern(values: dict[str, Any], option: str) -> dict[str, Any]:
    pattern = values.get(option) or {}
    if not isinstance(pattern, dict) or len(pattern) > MAX_PATTERNS:
        raise ValueError(f"{option} must be an object with at most {MAX_PATTERNS} entries")
    plain = {name.removeprefix("^").removesuffix("$"): value for name, value in pattern.items()}
    for name in plain:
        if _PLAIN_NAME.fullmatch(name) is None:
            raise ValueError(f"{option}: {name!r} is a regular expression; write the modules' names")
    return plain


def _first_match(pattern: Mapping[str, Number], module: str, default: Number) -> Number:
    return next((value for name, value in pattern.items() if f".{module}".endswith(f".{name}")), default)


def _flag(values: dict[str, Any], option: str) -> bool:
    value = values.get(option) or False
    if not isinstance(value, bool):
        raise ValueError(f"{option} must be true or false")
    return value


def _whole(values: Mapping[str, Any], option: str, most: int) -> int:
    value = values.get(option)
    if type(value) is not int or not 1 <= value <= most:
        raise ValueError(f"{option} = {value!r} must be a whole number from 1 to {most}")
    return value


def _positive(option: str, value: Any) -> float:
    if type(value) not in {int, float} or not math.isfinite(value) or value <= 0:
        raise ValueError(f"{option} = {value!r} must be a number above 0")
    return float(value)

"""What the vLLM engine is started with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEFAULT_SLOTS = 16
DEFAULT_MAX_RANK = 256
DEFAULT_KV_CACHE_BYTES = 1024**3
DEFAULT_HOST_BUDGET_BYTES = 2 * 1024**3
DEFAULT_MAX_SEQUENCES = 32
DEFAULT_STEP_TOKENS = 128
"""Tokens in one step. On two cores 256 take about 200 ms, and a step shall stay below 150 ms for its neighbours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmSettings:
    """Settings of one engine; whatever is not here goes to vLLM through `extra`, verbatim."""

    home: Path
    base: Path
    """Folder of the base; names and hub ids are resolved by the caller."""
    base_name: str
    dtype: str = "auto"
    """auto: the base's own, or float32 where the processor would emulate it."""
    slots: int = DEFAULT_SLOTS
    """Expert sets in one batch; vLLM's max_loras."""
    max_rank: int = DEFAULT_MAX_RANK
    """Ranks that one set may need; vLLM's max_lora_rank."""
    max_sequences: int = DEFAULT_MAX_SEQUENCES
    step_tokens: int = DEFAULT_STEP_TOKENS
    """vLLM's max_num_batched_tokens."""
    context_tokens: int | None = None
    """vLLM's max_model_len; None is the base's own."""
    kv_cache_bytes: int = DEFAULT_KV_CACHE_BYTES
    host_budget_bytes: int = DEFAULT_HOST_BUDGET_BYTES
    """Memory for experts' host files."""
    seed: int = 0
    log: Path | None = None
    """Where vLLM's own messages go; None leaves them on the terminal."""
    extra: Mapping[str, Any] = field(default_factory=dict)

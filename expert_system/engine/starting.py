"""Start vLLM quietly, with the plugin in every process, and find out that it really is there.

VllmSettings -> environment + engine arguments -> AsyncLLM -> handshake -> ServedBase
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from expert_system.engine import compiler, quiet, worker_place
from expert_system.engine.interface import ServedBase
from expert_system.engine.settings import VllmSettings
from expert_system.errors import ConfigError, EngineError
from expert_system.package.base import describe_base

if TYPE_CHECKING:
    from collections.abc import Callable

    from vllm.v1.engine.async_llm import AsyncLLM

HANDSHAKE_TIMEOUT_S = 30.0
PLUGIN = "expert_system"
"""Its name in the entry point group vllm.general_plugins."""
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM accepts for max_lora_rank."""


def environment(settings: VllmSettings) -> dict[str, str]:
    """Variables that vLLM's processes read; those that the user has set stay."""
    from expert_system.engine.plugin.doors import BUDGET_VARIABLE

    variables = {
        # GPUs default to a second model runner that no GPU has run with this plugin yet.
        "VLLM_USE_V2_MODEL_RUNNER": "0",
        # By default vLLM leaves one core of a small machine idle; both give 1.6 times the tokens.
        worker_place.BINDING_VARIABLE: worker_place.binding(sorted(os.sched_getaffinity(0))),
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
        "VLLM_NO_USAGE_STATS": "1",
        BUDGET_VARIABLE: str(settings.host_budget_bytes),
        "EXPERT_HOME": str(settings.home),
    }
    return {name: os.environ.get(name, value) for name, value in variables.items()} | {
        "EXPERT_HOME": str(settings.home),
        BUDGET_VARIABLE: str(settings.host_budget_bytes),
    }


def engine_arguments(settings: VllmSettings) -> dict[str, Any]:
    """vLLM's engine arguments."""
    from expert_system.engine import precision

    rank = next((rank for rank in LORA_RANKS if rank >= settings.max_rank), None)
    if rank is None:
        raise ConfigError(f"max_lora_rank is {settings.max_rank}; vLLM allows at most {LORA_RANKS[-1]}")
    arguments: dict[str, Any] = {
        "model": str(settings.base),
        "served_model_name": settings.base_name,
        "dtype": precision.chosen(settings.dtype),
        "enable_lora": True,
        "max_loras": settings.slots,
        "max_lora_rank": rank,
        "max_cpu_loras": settings.slots,
        "max_num_seqs": settings.max_sequences,
        "max_num_batched_tokens": settings.step_tokens,
        "kv_cache_memory_bytes": settings.kv_cache_bytes,
        "scheduling_policy": "priority",
        "enforce_eager": True,
        "enable_prompt_embeds": True,  # soft prompts
        "seed": settings.seed,
    }
    if settings.context_tokens is not None:
        arguments["max_model_len"] = settings.context_tokens
    return arguments | dict(settings.extra)


async def launch(settings: VllmSettings) -> AsyncLLM:
    """Start the engine's processes; returns when the model is loaded. Cancelling it kills them.

    Raises:
        EngineError: vLLM could not start; the message names its log.
    """
    _require_plugin_allowed()
    if settings.log is not None:
        quiet.log_to(settings.log)
    os.environ.update(environment(settings))
    await asyncio.to_thread(_build_kernel)
    await asyncio.to_thread(_do_without_compiler)
    building = asyncio.create_task(asyncio.to_thread(_build, settings))
    try:
        return await asyncio.shield(building)
    except asyncio.CancelledError:
        for child in multiprocessing.active_children():
            if child.name.startswith("EngineCore"):
                child.kill()
        with contextlib.suppress(Exception):
            (await building).shutdown()
        raise
    except ConfigError:
        raise
    except Exception as error:
        raise EngineError(f"vLLM did not start: {error}{_hint(settings)}") from error


def _require_plugin_allowed() -> None:
    """Refuse at once what the handshake would refuse after the whole start."""
    allowed = os.environ.get("VLLM_PLUGINS")
    if allowed is not None and PLUGIN not in allowed.split(","):
        raise EngineError(
            f"VLLM_PLUGINS is {allowed!r}, which leaves out the {PLUGIN} plugin; unset it or add {PLUGIN}:"
            " without it vLLM would answer base requests with another request's adapter"
        )


def _build_kernel() -> None:
    """Build the fused CPU kernel if `scripts/setup` has not; without it the engine is slower, not wrong."""
    from expert_system.engine.plugin.cpu import build

    try:
        build.build()
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        logging.getLogger(__name__).warning("going on with the slower reference arithmetic: %s", error)


def _do_without_compiler() -> None:
    """Let vLLM's own compiled functions run as they are written where nothing can compile them."""
    from vllm.platforms import current_platform

    if current_platform.is_cpu() and (problem := compiler.problem()):
        logging.getLogger(__name__).warning("vLLM's own functions run uncompiled, which is slower: %s", problem)
        os.environ.update(compiler.UNCOMPILED)


def _build(settings: VllmSettings) -> AsyncLLM:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.plugins import load_general_plugins
    from vllm.v1.engine.async_llm import AsyncLLM

    load_general_plugins()
    place = worker_place.executor(settings.extra)
    arguments = AsyncEngineArgs(**engine_arguments(settings), **place)
    with quiet.children(settings.log), worker_place.openmp(place):
        llm: AsyncLLM = silent_at_exit(AsyncLLM).from_engine_args(arguments)
        return llm


def silent_at_exit(engine: Any) -> Any:
    """A subclass whose instances are not shut down a second time while the interpreter ends.

    vLLM shuts an engine down in `__del__` too, which imports modules; by then that fails with a traceback on stderr.
    """

    class Silent(engine):
        # A default, since this module may have lost its names by then.
        def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
            if not ending():
                super().__del__()

    return Silent


async def handshake(llm: AsyncLLM) -> None:
    """Ask every worker whether our plugin runs in it (vllm.md, Decided 3).

    Raises:
        EngineError: it does not; serving would silently give wrong answers.
    """
    from expert_system.engine.plugin import register
    from expert_system.engine.plugin.hooks import PLUGIN_VERSION

    problems = list(register.problems)
    try:
        reports = await asyncio.wait_for(llm.collective_rpc("expert_report"), HANDSHAKE_TIMEOUT_S)
    except Exception as error:
        reason = "; ".join(problems) or "vLLM's log says why it did not load"
        raise EngineError(f"the {PLUGIN} plugin is not in vLLM's workers: {reason}") from error
    for report in reports:
        if report["plugin"] != PLUGIN_VERSION or not report["manager"]:
            problems.append(f"a worker reports plugin {report['plugin']}, manager in place: {report['manager']}")
    if problems:
        raise EngineError(f"the {PLUGIN} plugin does not fit this vLLM: {'; '.join(problems)}")


def served_base(settings: VllmSettings, llm: AsyncLLM) -> ServedBase:
    """What the running engine serves."""
    model = llm.vllm_config.model_config
    return ServedBase(
        name=settings.base_name,
        digest=describe_base(settings.base).binding,
        context_tokens=model.max_model_len,
        slots=settings.slots,
        max_rank=settings.max_rank,
        vocabulary=model.get_vocab_size(),
        dtype=str(model.dtype).removeprefix("torch."),
    )


def _hint(settings: VllmSettings) -> str:
    return f"; its log is {settings.log}" if settings.log else ""

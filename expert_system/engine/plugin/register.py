"""What vLLM calls in each of its processes, and what the server asks the workers before it reports ready.

vllm.general_plugins -> app.register_vllm -> register(open_store) -> hooks in place -> report() -> handshake
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from typing import Any

from expert_system.engine.plugin.hostfiles import StoreAccess, set_store

LOG_VARIABLE = "EXPERT_ENGINE_LOG"
problems: list[str] = []
"""What kept the plugin out of this process; the handshake tells."""
_registered = False


def register(open_store: Callable[[], StoreAccess]) -> None:
    """Put the plugin into this process; calling it again only renews the way to the store.

    Args:
        open_store: how to reach the store; called when a stored expert is first needed.

    Raises:
        RuntimeError: a hook point has moved; vLLM logs it and goes on without us, which the handshake notices.
    """
    global _registered
    set_store(open_store)
    if _registered:
        return
    _redirect_output()
    from expert_system.engine.plugin import hooks, runfolder

    problems[:] = hooks.check()
    if problems:
        raise RuntimeError(f"vLLM has moved under the expert plugin: {'; '.join(problems)}")
    runfolder.get()
    _install()
    _registered = True


def _install() -> None:
    from vllm.platforms import current_platform
    from vllm.v1.worker import gpu_worker, lora_model_runner_mixin

    from expert_system.engine.plugin import doors, gates, layers
    from expert_system.engine.plugin.cpu import gemm
    from expert_system.engine.plugin.worker import ExpertWorkerManager

    doors.install()
    lora_model_runner_mixin.LRUCacheWorkerLoRAManager = ExpertWorkerManager
    gpu_worker.Worker.expert_report = _report
    gpu_worker.Worker.expert_unpin = _unpin
    if current_platform.is_cpu():
        wrapper = "expert_system.engine.plugin.cpu.wrapper.ExpertPunicaWrapper"
        type(current_platform).get_punica_wrapper = classmethod(lambda cls: wrapper)
        layers.install_cpu()
        gemm.install_gemm()
    elif gates.enabled():
        gates.install()


def _report(self: Any) -> dict[str, Any]:
    """Worker call of the server: who we are, and what the worker holds."""
    from vllm.platforms import current_platform

    from expert_system.engine.plugin.hooks import PLUGIN_VERSION
    from expert_system.engine.plugin.worker import ExpertWorkerManager

    manager = getattr(self.model_runner, "lora_manager", None)
    return {
        "plugin": PLUGIN_VERSION,
        "manager": isinstance(manager, ExpertWorkerManager),
        "wrapper": current_platform.get_punica_wrapper(),
        "residency": manager.residency() if isinstance(manager, ExpertWorkerManager) else None,
    }


def _unpin(self: Any, set_id: int) -> bool:
    """Worker call of the server: take a slot's preference away."""
    done: bool = self.model_runner.lora_manager.unpin_adapter(set_id)
    return done


def _redirect_output() -> None:
    """Send what vLLM's child processes print to the engine's log, away from a user's terminal."""
    log = os.environ.get(LOG_VARIABLE)
    if not log or multiprocessing.parent_process() is None:
        return
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)

"""Where the CPU's worker runs: inside the engine's process instead of in one of its own.

    settings -> executor + OpenMP variables for the engine's process

vLLM gives the worker a process of its own on the CPU because OpenMP reads its variables once, when it is loaded. The
engine's process is new as well, so it can be started with them. That saves a process that imports torch and vLLM
(a third of the start) and a hop between processes in every step. Several workers (tensor parallelism) stay vLLM's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

BINDING_VARIABLE = "VLLM_CPU_OMP_THREADS_BIND"


def binding(cores: list[int]) -> str:
    """The cores as vLLM's variable has them."""
    contiguous = cores == list(range(cores[0], cores[-1] + 1))
    return f"{cores[0]}-{cores[-1]}" if contiguous else ",".join(map(str, cores))


def executor(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Engine arguments that put the worker into the engine's process; empty where vLLM shall decide.

    Args:
        extra: the user's own engine arguments.
    """
    from vllm.platforms import current_platform
    from vllm.v1.executor.uniproc_executor import UniProcExecutor

    chosen = {"distributed_executor_backend", "tensor_parallel_size", "pipeline_parallel_size"} & set(extra)
    if not current_platform.is_cpu() or chosen or os.environ.get(BINDING_VARIABLE) != binding(_cores()):
        return {}
    # The class itself: on the CPU vLLM turns the name "uni" back into a process.
    return {"distributed_executor_backend": UniProcExecutor}


@contextmanager
def openmp(arguments: Mapping[str, Any]) -> Iterator[None]:
    """Let a process that is started in this block bind one thread to each core, if the worker will run in it."""
    if "distributed_executor_backend" not in arguments:
        yield
        return
    wanted = {"OMP_NUM_THREADS": str(len(_cores())), "GOMP_CPU_AFFINITY": " ".join(map(str, _cores()))}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))

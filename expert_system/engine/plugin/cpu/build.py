"""Build the fused kernel with the machine's own compiler, once, into the user's cache folder.

    kernel.cpp + flags + torch's version + processor -> digest -> kernels/<digest>/expert_kernel.so

`scripts/setup` builds it, and so does an engine that finds it missing; where there is no compiler the engine runs on
the reference in torch, which is correct and slower.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("kernel.cpp")
LIBRARY = "expert_kernel.so"
BUILD_TIMEOUT_S = 300.0
FLAGS = (
    "-std=c++20",
    "-O3",
    "-march=native",
    "-fopenmp",
    "-fPIC",
    "-shared",
    # Let sums be reordered, so that they vectorise; unlike -ffast-math this changes nothing outside this file.
    "-fassociative-math",
    "-fno-signed-zeros",
    "-fno-trapping-math",
    "-fno-math-errno",
)


def cache() -> Path:
    """This user's cache folder for kernels; a machine's kernels serve every `$EXPERT_HOME` on it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "expert-system" / "kernels"


def compiler() -> str | None:
    """The C++ compiler of this machine: $CXX, else g++ or clang++."""
    wanted = os.environ.get("CXX")
    return shutil.which(wanted) if wanted else shutil.which("g++") or shutil.which("clang++")


def library() -> Path:
    """Where the kernel for this source, torch and processor is, or would be."""
    from torch import __version__ as torch_version

    parts = (SOURCE.read_text(), *FLAGS, torch_version, platform.machine(), _processor())
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return cache() / digest / LIBRARY


def build() -> Path | None:
    """Build the kernel if it is not there.

    Returns:
        Its path, or None where there is no compiler.

    Raises:
        RuntimeError: the compiler refused; the message ends with what it said.
    """
    target = library()
    if target.exists():
        return target
    cxx = compiler()
    if cxx is None:
        return None
    from torch.utils.cpp_extension import include_paths, library_paths

    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, aside = tempfile.mkstemp(dir=target.parent, suffix=".so")
    os.close(descriptor)
    command = [cxx, *FLAGS, *(f"-I{path}" for path in include_paths()), str(SOURCE), "-o", aside]
    command += [f"-L{path}" for path in library_paths()] + ["-ltorch_cpu", "-lc10"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False)
    if done.returncode:
        Path(aside).unlink()
        raise RuntimeError(f"the fused kernel did not compile with {cxx}: {done.stderr[-2000:]}")
    Path(aside).replace(target)
    return target


def _processor() -> str:
    """What -march=native would see: a kernel built on one processor must not run on a lesser one."""
    try:
        with Path("/proc/cpuinfo").open() as file:
            return next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        return platform.processor()


if __name__ == "__main__":
    try:
        built = build()
    except RuntimeError as error:
        sys.exit(str(error))
    sys.stdout.write(f"{built or 'no C++ compiler found; the engine will use the slower reference in torch'}\n")

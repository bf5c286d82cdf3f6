"""Whether this machine can compile the C++ that torch generates for a CPU.

    $CXX or g++ + a few lines with the headers that such code needs -> what is wrong, or nothing

vLLM compiles some functions of its own on the CPU, whatever the engine's arguments say, and the first request that
needs one ends the engine where that fails. Without a compiler they have to run uncompiled.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig

UNCOMPILED = {"TORCH_COMPILE_DISABLE": "1"}
"""Read by torch when a process imports it."""
CHECK_TIMEOUT_S = 30.0
_NEEDED = "#include <Python.h>\n#include <omp.h>\n#include <vector>\n"


def problem() -> str | None:
    """What keeps torch from compiling here, and what to do; None when nothing does."""
    cxx = os.environ.get("CXX", "g++")  # torch looks nowhere else
    command = [cxx, "-x", "c++", "-fsyntax-only", "-fopenmp", f"-I{sysconfig.get_path('include')}", "-"]
    try:
        done = subprocess.run(
            command, input=_NEEDED, capture_output=True, text=True, timeout=CHECK_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{cxx} cannot be run ({error}); install a C++ compiler (Debian: g++) or name one in CXX"
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "error" in line), "no reason given")
        return (
            f"{cxx} does not compile what torch needs: {said}; install g++ and Python's headers (Debian: python3-dev)"
        )
    return None

"""What makes a step of training faster and changes none of its arithmetic on purpose.

    process -> an allocator that keeps its memory;  model -> decoder layers compiled once for all shapes

Promise: without a compiler, or off Linux, training runs as it is, only slower.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from expert_system.errors import ConfigError

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Parameters of glibc's mallopt(3)."""
NEVER_TRIM = 2**31 - 1
TOP_PAD_BYTES = 256 << 20
MAX_GRAPHS = 64
"""Graphs of one function; beyond them it would run uncompiled."""


def keep_freed_memory() -> None:
    """Let glibc reuse large tensors' memory instead of giving it back.

    Every step frees and takes the same buffers of some ten MB; given back to the system, each of their pages would be
    mapped and zeroed anew. Holds for the whole process, until it ends.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return
    for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, NEVER_TRIM), (M_TOP_PAD, TOP_PAD_BYTES)):
        mallopt(parameter, value)


def compile_layers(model: Any) -> None:
    """Compile the decoder's layers in place, in one graph for every batch size and length.

    Raises:
        ConfigError: no C++ compiler is here, which the generated code needs on a CPU.
    """
    import torch._dynamo
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    if model.device.type == "cpu":
        try:
            get_cpp_compiler()
        except InvalidCxxCompiler as missing:
            raise ConfigError(
                'compile needs a C++ compiler (Debian: g++); install one or train with "compile": false'
            ) from missing
    # DoRA compiles a graph for each shape of projection, twice: with and without gradients.
    torch._dynamo.config.recompile_limit = MAX_GRAPHS
    for layer in model.get_base_model().get_decoder().layers:
        layer.compile(dynamic=True)

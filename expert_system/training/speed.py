"""What makes a step of training faster and changes none of its arithmetic on purpose.

    process -> an allocator that keeps its memory;  model -> decoder layers compiled once for all shapes

Promise: without a compiler, or off Linux, training runs as it is, only slower.
"""

from __future__ import annotations

import logging
import shutil
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from expert_system.errors import ConfigError

ALLOCATOR = Path(__file__).with_name("cpu_memory.cpp")
FLAGS = ("-O2", "-std=c++20")
MAX_GRAPHS = 64
"""Graphs of one function; beyond them it would run uncompiled."""


@cache
def keep_freed_memory() -> bool:
    """Let tensors of this process reuse each other's memory, by an allocator of ours that is compiled here and now.

    Holds until the process ends. Takes some two seconds: built anew in each process, so there is no cache to trust.

    Returns:
        Whether it was done; without a C++ compiler, or off Linux, memory stays malloc's.
    """
    from torch.utils.cpp_extension import get_cxx_compiler, load

    if not sys.platform.startswith("linux") or shutil.which(get_cxx_compiler()) is None:
        return False
    with TemporaryDirectory() as folder:
        try:
            load("expert_cpu_memory", [str(ALLOCATOR)], list(FLAGS), build_directory=folder, is_python_module=False)
        except (RuntimeError, OSError) as problem:
            logging.getLogger(__name__).warning("training is slower, its allocator was not built: %s", problem)
            return False
    return True


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

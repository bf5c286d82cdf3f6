"""The base and adapters as GGUF files, made by llama.cpp's own conversion scripts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common.experts import Shelf

SERVER = Path("build/bin/llama-server")
"""Where a llama.cpp source tree that was built has its server."""


def convert(shelf: Shelf, names: Sequence[str], llama_cpp: Path) -> Path:
    """Write `base.gguf` and one file for each adapter, in BF16; returns their folder."""
    folder = shelf.work / "gguf"
    folder.mkdir(exist_ok=True)
    if not (folder / "base.gguf").exists():
        _run(llama_cpp / "convert_hf_to_gguf.py", shelf.base, "--outfile", folder / "base.gguf", "--outtype", "bf16")
    for name in names:
        target = folder / f"{name}.gguf"
        if not target.exists():
            script = llama_cpp / "convert_lora_to_gguf.py"
            _run(script, shelf.folder(name), "--base", shelf.base, "--outfile", target, "--outtype", "bf16")
    return folder


def _run(script: Path, *arguments: str | Path) -> None:
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{script.name} failed: {done.stderr[-2000:]}")

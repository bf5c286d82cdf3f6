"""Faster steps are the same steps."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from expert_system.errors import ConfigError
from expert_system.training.speed import keep_freed_memory
from tests.training.trainkit import make_base, make_recipe, record, run


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rslora", "dora", "ia3", "soft_prompt"])
def test_compiled_layers_take_the_same_steps(kind: str, tmp_path: Path) -> None:
    """Only rounding may differ: in FP32 the losses agree to 1e-4 for every kind of adapter."""
    base = make_base(tmp_path / "base")

    plain = run(make_recipe(kind), base, tmp_path / "plain")
    compiled = run(make_recipe(kind, compile=True), base, tmp_path / "compiled")

    assert plain == pytest.approx(compiled, abs=1e-4)
    assert record(tmp_path / "compiled")["best_validation_loss"] == pytest.approx(
        record(tmp_path / "plain")["best_validation_loss"], abs=1e-4
    )


def test_without_a_compiler_the_recipe_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said before the first step, not in the middle of generated code."""
    base = make_base(tmp_path / "base")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))

    with pytest.raises(ConfigError, match=r'Debian: g\+\+.*"compile": false'):
        run(make_recipe(compile=True), base, tmp_path / "out")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_memory_is_kept() -> None:
    """A buffer that was freed is not mapped anew: the same pages come back without faults.

    Not from the first one on: glibc cuts the start of an aligned buffer off and keeps that piece for small requests, so
    the buffer is too short for its next use until the thread's cache of such pieces is full, at seven.
    """
    import resource

    import torch

    keep_freed_memory()
    size = 32 << 20
    for _ in range(16):
        torch.ones(size // 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        torch.ones(size // 4)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < size // 4096

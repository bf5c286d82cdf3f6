"""Faster steps are the same steps."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from random import Random

import pytest
import torch

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


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator is built on Linux only")


@linux
def test_freed_memory_is_kept() -> None:
    """A buffer that was freed is not mapped anew: the same pages come back without faults."""
    assert keep_freed_memory()
    size = 32 << 20
    torch.ones(size // 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        torch.ones(size // 4)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < size // 4096


@linux
def test_kept_memory_serves_one_tensor_at_a_time() -> None:
    """Tensors of many sizes, freed in another order than made, hold what was written, at torch's own alignment."""
    assert keep_freed_memory()
    rng = Random(1)
    alive: list[tuple[float, torch.Tensor]] = []
    for number in range(2_000):
        alive.append((float(number), torch.full((rng.randrange(1, 5_000),), float(number))))
        if len(alive) > 50:
            written, tensor = alive.pop(rng.randrange(len(alive)))
            assert 0 == tensor.data_ptr() % 64
            assert bool((tensor == written).all())
    assert 0 == torch.empty(0).numel()


@linux
def test_a_smaller_tensor_gets_a_kept_block_only_when_little_is_wasted() -> None:
    """A block may be half as large again as what is asked for, rounded up to one of four sizes a doubling; no larger."""
    assert keep_freed_memory()
    kept = torch.empty(900_000_000, dtype=torch.uint8)  # larger than what any other test leaves behind
    place = kept.data_ptr()
    del kept

    assert place != torch.empty(500_000_000, dtype=torch.uint8).data_ptr()
    assert place == torch.empty(800_000_000, dtype=torch.uint8).data_ptr()


def test_without_a_compiler_memory_stays_mallocs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training runs there as it is, only slower."""
    monkeypatch.setenv("CXX", "no-such-compiler")

    assert not keep_freed_memory.__wrapped__()


@linux
def test_a_build_that_fails_is_said_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A compiler that is there and does not work costs speed, not the run."""
    broken = tmp_path / "broken.cpp"
    broken.write_text("no C++\n")
    monkeypatch.setattr("expert_system.training.speed.ALLOCATOR", broken)

    assert not keep_freed_memory.__wrapped__()
    assert "training is slower, its allocator was not built" in caplog.text

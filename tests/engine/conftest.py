"""Real engines, each started once and shared by every test that needs its base and type."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import kit
import pytest
import tiny

from expert_system.engine import compiler

INSTALLED_HOME = os.environ.get("EXPERT_HOME", "~/.expert")
"""Read before any test changes it."""
SLOTS = 13
"""One more than the twelve sets that tests run side by side."""


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Bench]:
    """A tiny Llama with biases in its attention, FP32, with experts of every kind."""
    yield from _kept(_tiny("llama", tmp_path_factory))


@pytest.fixture(scope="session")
def tiny_qwen3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Bench]:
    """A tiny Qwen3, FP32, with experts of every kind, started as where there is no C++ compiler."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", "false")
        for name in compiler.UNCOMPILED:
            patch.setenv(name, "0")
        bench = _tiny("qwen3", tmp_path_factory)
        assert {name: os.environ[name] for name in compiler.UNCOMPILED} == compiler.UNCOMPILED
    yield from _kept(bench)


@pytest.fixture(scope="session", params=["llama", "qwen3"])
def bench(request: pytest.FixtureRequest) -> kit.Bench:
    """Both tiny engines in turn."""
    found: kit.Bench = request.getfixturevalue(f"tiny_{request.param}")
    return found


def _tiny(architecture: str, factory: pytest.TempPathFactory) -> kit.Bench:
    folder = factory.mktemp(architecture)
    base = tiny.make_base(folder / "home" / "bases" / f"tiny-{architecture}", architecture)
    bench = kit.start(
        folder / "home", base, dtype="float32", slots=SLOTS, kv_cache_bytes=64 * 1024**2, context_tokens=512
    )
    try:
        _install_experts(bench, folder / "adapters")
    except BaseException:
        kit.stop(bench)
        raise
    return bench


def _kept(bench: kit.Bench) -> Iterator[kit.Bench]:
    try:
        yield bench
    finally:
        kit.stop(bench)


def _install_experts(bench: kit.Bench, folder: Path) -> None:
    """Adapters of every kind: lora-0 … lora-9 of rank 1 to 10, and the special ones by name."""
    configs = {f"lora-{i}": tiny.lora(i + 1) for i in range(10)}
    configs["rslora"] = tiny.lora(8, use_rslora=True)
    configs["patterns"] = tiny.lora(
        4, rank_pattern={"q_proj": 8, "layers.1.mlp.down_proj": 2}, alpha_pattern={"v_proj": 3}
    )
    configs["attention-only"] = tiny.lora(4, target_modules=["q_proj", "v_proj"])
    configs["dora-0"] = tiny.lora(4, use_dora=True)
    configs["dora-1"] = tiny.lora(6, use_dora=True)
    configs["ia3-0"] = tiny.ia3()
    configs["ia3-1"] = tiny.ia3()
    configs["soft-0"] = tiny.soft_prompt(5)
    configs["soft-1"] = tiny.soft_prompt(3)
    for seed, (name, config) in enumerate(configs.items()):
        adapter = tiny.make_adapter(folder / name, bench.base, config, seed=seed)
        bench.add(name, adapter)


@pytest.fixture(scope="module")
def embedded_fp32(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Bench]:
    """The embedded base in FP32, with strong experts of every kind."""
    yield from _embedded("float32", tmp_path_factory)


@pytest.fixture(scope="module")
def embedded_bf16(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Bench]:
    """The embedded base as it is served, in BF16."""
    yield from _embedded("bfloat16", tmp_path_factory)


EMBEDDED_SLOTS = 3


def _embedded(dtype: str, factory: pytest.TempPathFactory) -> Iterator[kit.Bench]:
    folder = factory.mktemp(dtype)
    base = embedded_base()
    (folder / "home" / "bases").mkdir(parents=True)
    (folder / "home" / "bases" / base.name).symlink_to(base)
    bench = kit.start(folder / "home", base, dtype=dtype, slots=EMBEDDED_SLOTS, context_tokens=1024)
    kinds = {
        "strong": tiny.lora(16),
        "wide": tiny.lora(32),
        "dora": tiny.lora(8, use_dora=True),
        "ia3": tiny.ia3(),
        "soft": tiny.soft_prompt(8),
    }
    try:
        for seed, (name, config) in enumerate(kinds.items()):
            bench.add(name, tiny.make_adapter(folder / name, base, config, seed=seed, strength=0.03))
        yield bench
    finally:
        kit.stop(bench)


def embedded_base() -> Path:
    """Where `scripts/setup` put the embedded base; the tests' own $EXPERT_HOME is another."""
    base = Path(INSTALLED_HOME).expanduser() / "bases" / "smollm2-135m-instruct"
    assert (base / "model.safetensors").exists(), f"{base} is missing; run scripts/setup"
    return base

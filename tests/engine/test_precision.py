"""Which number format the engine computes in, without an engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from expert_system.engine import precision
from expert_system.engine.settings import VllmSettings
from expert_system.engine.starting import engine_arguments


def test_a_processor_that_would_emulate_bf16_gets_fp32() -> None:
    """decisions/0012: there FP32 is the faster one."""
    assert "float32" == precision.on_cpu("auto", machine="x86_64", capability="AVX2")


def test_every_other_processor_keeps_the_format_of_the_base() -> None:
    """decisions/0012: what was not measured stays vLLM's choice."""
    assert "auto" == precision.on_cpu("auto", machine="x86_64", capability="AVX512")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_a_format_that_was_asked_for_is_used_anywhere(dtype: str) -> None:
    """The user decides."""
    assert dtype == precision.on_cpu(dtype, machine="x86_64", capability="AVX2")


def test_the_engine_is_started_with_what_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """decisions/0012: vLLM gets the choice, not the setting."""
    monkeypatch.setattr(precision, "chosen", lambda dtype: f"chosen for {dtype}")
    settings = VllmSettings(home=tmp_path, base=tmp_path, base_name="tiny")

    assert "chosen for auto" == engine_arguments(settings)["dtype"]

"""Where nothing can compile what torch generates, the engine says so and runs without."""

from __future__ import annotations

import sys
from pathlib import Path

import kit
import pytest

from expert_system.engine import compiler


def test_a_compiler_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad input gets an error that names the thing and the next step."""
    monkeypatch.setenv("CXX", "no-such-compiler")

    found = compiler.problem()

    assert found is not None
    assert "no-such-compiler cannot be run" in found
    assert "g++" in found


def test_a_compiler_without_the_headers_is_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The compiler alone is not enough; its own first error is handed on."""
    broken = tmp_path / "cxx"
    broken.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('fatal error: Python.h: No such file')\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))

    found = compiler.problem()

    assert found is not None
    assert "fatal error: Python.h" in found
    assert "python3-dev" in found


def test_the_engine_answers_without_a_compiler(tiny_qwen3: kit.Bench) -> None:
    """Sampling and logprobs go through what vLLM would compile; uncompilable, it ended the engine at this request."""
    answer = kit.loop().run_until_complete(tiny_qwen3.run([1, 2, 3], max_tokens=4, temperature=1.0, top_k=2, seed=1))

    assert len(answer.logprobs) == 4

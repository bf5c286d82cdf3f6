"""scripts/setup: what it chooses, what it says, and that running it again is safe."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def fake_program(folder: Path, name: str, exit_code: int) -> None:
    """Put a program on a PATH folder that only exits."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\nexit {exit_code}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An `$EXPERT_HOME` that does not exist yet."""
    return tmp_path / "home"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder that comes first on PATH, where no GPU answers."""
    folder = tmp_path / "programs"
    fake_program(folder, "nvidia-smi", exit_code=9)
    return folder


def setup(home: Path, programs: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run scripts/setup as a person would."""
    return subprocess.run(
        [ROOT / "scripts/setup", *arguments],
        env={
            **os.environ,
            "EXPERT_HOME": str(home),
            "PATH": f"{programs}:{os.environ['PATH']}",
            **environment,
        },
        capture_output=True,
        text=True,
    )


def test_without_a_gpu_the_cpu_variant_is_chosen(home: Path, programs: Path) -> None:
    """An nvidia-smi that finds no GPU counts as none."""
    done = setup(home, programs, "--dry-run")

    assert 0 == done.returncode
    assert "CPU variant (no GPU answers)" in done.stderr


def test_with_a_gpu_the_gpu_variant_is_chosen(home: Path, programs: Path) -> None:
    """GPU when nvidia-smi answers."""
    fake_program(programs, "nvidia-smi", exit_code=0)

    done = setup(home, programs, "--dry-run")

    assert "GPU variant (nvidia-smi answers)" in done.stderr
    assert "scripts/constraints/gpu.txt" in done.stderr


@pytest.mark.parametrize("asked", ["cpu", "gpu"])
def test_the_user_has_the_last_word(home: Path, programs: Path, asked: str) -> None:
    """--cpu and --gpu override what was found."""
    fake_program(programs, "nvidia-smi", exit_code=0)

    assert (
        f"{asked.upper()} variant (asked for with --{asked})" in setup(home, programs, "--dry-run", f"--{asked}").stderr
    )


def test_rocm_is_named_and_left_to_the_user(home: Path, programs: Path) -> None:
    """ROCm is detected and said to be the user's own install."""
    fake_program(programs, "rocminfo", exit_code=0)

    done = setup(home, programs, "--dry-run")

    assert "CPU variant (an AMD GPU with ROCm is here, but vLLM for ROCm is your own install" in done.stderr


def test_both_variants_at_once_are_refused(home: Path, programs: Path) -> None:
    """Extras cpu and gpu never meet."""
    assert 2 == setup(home, programs, "--cpu", "--gpu").returncode


def test_a_dry_run_shows_every_step_and_changes_nothing(home: Path, programs: Path) -> None:
    """--dry-run: the other variant is not installed, so all steps are due."""
    before = sorted(ROOT.iterdir())

    done = setup(home, programs, "--dry-run", "--gpu")

    steps = [line.strip() for line in done.stderr.splitlines() if " would " in line]
    assert "1. would make .venv with Python 3.11" == steps[0]
    assert f"4. would prepare the embedded base in {home}/bases/smollm2-135m-instruct" == steps[3]
    assert not home.exists()
    assert before == sorted(ROOT.iterdir())


def test_a_machine_without_python_3_11_is_told_what_to_install(home: Path, tmp_path: Path) -> None:
    """Fails with a sentence that says what to do."""
    programs = tmp_path / "programs"
    for name in ("python3.11", "python3"):
        fake_program(programs, name, exit_code=1)

    done = setup(home, programs, PYTHON="")

    assert 1 == done.returncode
    assert "Python 3.11 was not found; install it" in done.stderr


@pytest.mark.slow
def test_a_second_run_installs_nothing() -> None:
    """Safe to run again: the working copy that runs this test is set up, and stays so."""
    first = subprocess.run([ROOT / "scripts/setup"], capture_output=True, text=True)
    assert 0 == first.returncode, first.stderr

    second = subprocess.run([ROOT / "scripts/setup"], capture_output=True, text=True)

    assert 0 == second.returncode, second.stderr
    assert "constraints" not in second.stderr

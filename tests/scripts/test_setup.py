"""scripts/setup: what it chooses, what it says, and that running it again is safe."""

from __future__ import annotations

import os
import shutil
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


class Copy:
    """A working copy in which nothing is set up, on a machine where no GPU answers."""

    def __init__(self, folder: Path) -> None:
        """Copy what scripts/setup reads."""
        self.root = folder / "copy"
        self.home = folder / "home"
        self.programs = folder / "programs"
        shutil.copytree(ROOT / "scripts", self.root / "scripts")
        shutil.copy(ROOT / "pyproject.toml", self.root)
        fake_program(self.programs, "nvidia-smi", exit_code=9)

    def setup(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run scripts/setup as a person would."""
        own = {"EXPERT_HOME": str(self.home), "PATH": f"{self.programs}:{os.environ['PATH']}"}
        return subprocess.run(
            [self.root / "scripts/setup", *arguments],
            env={**os.environ, **own, **environment},
            capture_output=True,
            text=True,
        )

    def files(self) -> set[Path]:
        """Every file and folder, compiled Python aside."""
        return {path for path in self.root.rglob("*") if "__pycache__" not in path.parts}


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """A working copy of one's own."""
    return Copy(tmp_path)


def test_without_a_gpu_the_cpu_variant_is_chosen(copy: Copy) -> None:
    """An nvidia-smi that finds no GPU counts as none."""
    done = copy.setup("--dry-run")

    assert 0 == done.returncode
    assert "CPU variant (no GPU answers)" in done.stderr


def test_with_a_gpu_the_gpu_variant_is_chosen(copy: Copy) -> None:
    """GPU when nvidia-smi answers."""
    fake_program(copy.programs, "nvidia-smi", exit_code=0)

    done = copy.setup("--dry-run")

    assert "GPU variant (nvidia-smi answers)" in done.stderr
    assert "install the GPU variant" in done.stderr


@pytest.mark.parametrize("asked", ["cpu", "gpu"])
def test_the_user_has_the_last_word(copy: Copy, asked: str) -> None:
    """--cpu and --gpu override what was found."""
    fake_program(copy.programs, "nvidia-smi", exit_code=0)

    assert f"{asked.upper()} variant (asked for with --{asked})" in copy.setup("--dry-run", f"--{asked}").stderr


def test_rocm_is_named_and_left_to_the_user(copy: Copy) -> None:
    """ROCm is detected and said to be the user's own install."""
    fake_program(copy.programs, "rocminfo", exit_code=0)

    done = copy.setup("--dry-run")

    assert "CPU variant (an AMD GPU with ROCm is here, but vLLM for ROCm is your own install" in done.stderr


def test_both_variants_at_once_are_refused(copy: Copy) -> None:
    """Extras cpu and gpu never meet."""
    assert 2 == copy.setup("--cpu", "--gpu").returncode


def test_the_variant_stays_what_it_was(copy: Copy) -> None:
    """Who chose --cpu on a machine with a GPU need not repeat it, and scripts/test does not undo it."""
    fake_program(copy.programs, "nvidia-smi", exit_code=0)
    (copy.root / ".venv").mkdir()
    (copy.root / ".venv/.setup").write_text("cpu 0123")

    assert "CPU variant (as before; --cpu or --gpu changes it)" in copy.setup("--dry-run").stderr
    assert "GPU variant (asked for with --gpu)" in copy.setup("--dry-run", "--gpu").stderr


def test_a_dry_run_shows_every_step_and_changes_nothing(copy: Copy) -> None:
    """--dry-run: the plan of a fresh clone, and not a file more than before."""
    before = copy.files()

    done = copy.setup("--dry-run")

    assert [
        "1. would make .venv with Python 3.11",
        "2. would install uv==0.13.9",
        "3. would install the CPU variant (a download of a gigabyte or more the first time)",
        f"4. would prepare the embedded base in {copy.home}/bases/smollm2-135m-instruct",
        "5. would build the fused CPU kernel",
    ] == [line.strip() for line in done.stderr.splitlines() if " would " in line]
    assert before == copy.files()
    assert not copy.home.exists()


def test_an_expert_is_a_folder_with_a_manifest_and_weights(copy: Copy) -> None:
    """A half-made expert is not installed, and does not stop set-up."""
    for name in ("expert-whole", "expert-without-weights", "template"):
        (copy.root / "experts" / name).mkdir(parents=True)
        (copy.root / "experts" / name / "manifest.json").write_text("{}")
    (copy.root / "experts/expert-whole/weights/some-base").mkdir(parents=True)
    (copy.root / "experts/expert-whole/weights/some-base/adapter_model.safetensors").touch()

    assert f"6. would install expert-whole into {copy.home}/store" in copy.setup("--dry-run").stderr


def test_a_machine_without_python_3_11_is_told_what_to_install(copy: Copy) -> None:
    """Fails with a sentence that says what to do."""
    for name in ("python3.11", "python3"):
        fake_program(copy.programs, name, exit_code=1)

    done = copy.setup(PYTHON="")

    assert 1 == done.returncode
    assert "Python 3.11 was not found; install it" in done.stderr


@pytest.mark.slow
def test_a_second_run_installs_nothing() -> None:
    """Safe to run again: the working copy that runs this test is set up, and stays so."""
    first = subprocess.run([ROOT / "scripts/setup"], capture_output=True, text=True)
    assert 0 == first.returncode, first.stderr

    second = subprocess.run([ROOT / "scripts/setup"], capture_output=True, text=True)

    assert 0 == second.returncode, second.stderr
    assert "variant (a download" not in second.stderr

"""Several processes take the steps of one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from expert_system.errors import ConfigError
from expert_system.training.adapters import WEIGHTS_FILE
from expert_system.training.replicas import Replica, count_replicas
from expert_system.training.steps import StepReport
from tests.training.trainkit import make_base, make_recipe, record, run, threads

RECIPE = make_recipe("rslora", batch_size=19, epochs=2)
"""Of twenty rows: in every other batch stands one row alone, and replica 1 has none. Not compiled, which takes long."""


@pytest.fixture
def two_threads() -> Iterator[None]:
    """As on a machine of two cores."""
    with threads(2):
        yield


@pytest.fixture
def two_replicas(two_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for the short run."""
    monkeypatch.setattr("expert_system.training.train.count_replicas", lambda *_: 2)


def others() -> list[BaseProcess]:
    """Processes that train with this one; engines of other tests may run beside."""
    return [process for process in active_children() if process.name == "replica 1"]


def test_who_trains_in_several_processes(two_threads: None) -> None:
    """Compiled runs on a CPU; not with dropout, not with more processes than rows of a batch or threads."""
    long = make_recipe("rslora", compile=True).training

    assert count_replicas(long, "cpu") == 2
    assert count_replicas(long, "cuda") == 1
    assert count_replicas(long.model_copy(update={"dropout": 0.1}), "cpu") == 1
    assert count_replicas(long.model_copy(update={"compile": False}), "cpu") == 1
    assert count_replicas(long.model_copy(update={"batch_size": 1}), "cpu") == 1
    with threads(1):
        assert count_replicas(long, "cpu") == 1


def test_alone_nothing_is_averaged() -> None:
    """One process computes as if there were no others to think of."""
    tensor = torch.tensor([0.1])

    Replica().average([tensor], 3.0)

    assert tensor.item() == torch.tensor(0.1).item()
    assert Replica().share([1, 2, 3]) == [1, 2, 3]


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(
    two_replicas: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the order of sums differs: in FP32 losses, held-out losses and the adapter agree to 1e-4; resumed too."""
    base = make_base(tmp_path / "base")

    def stop(step: StepReport) -> None:
        if step.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(RECIPE, base, tmp_path / "two", stop)
    assert not others()
    run(RECIPE, base, tmp_path / "two")
    assert not others()
    assert torch.get_num_threads() == 2
    monkeypatch.undo()
    run(RECIPE, base, tmp_path / "one")
    two, one = record(tmp_path / "two"), record(tmp_path / "one")

    assert (two["processes"], one["processes"]) == (2, 1)
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-4)
    assert two["validation_losses"][-1][1] == pytest.approx(one["validation_losses"][-1][1], abs=1e-4)
    assert two["tokens"] == one["tokens"]
    adapters = [load_file(tmp_path / name / "adapter" / WEIGHTS_FILE) for name in ("two", "one")]
    torch.testing.assert_close(*adapters, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_when_a_process_dies_the_run_says_so_and_can_go_on(two_replicas: None, tmp_path: Path) -> None:
    """The other process ends with a sentence that says what to do; the last checkpoint stays."""
    base = make_base(tmp_path / "base")

    def kill(step: StepReport) -> None:
        [other] = others()
        other.kill()

    with pytest.raises(ConfigError, match=r"exit code -9.*the same command goes on.*OMP_NUM_THREADS=1"):
        run(RECIPE, base, tmp_path / "out", kill)
    assert len(run(RECIPE, base, tmp_path / "out")) == 3


@pytest.mark.slow
def test_when_replica_0_is_killed_the_others_end(tmp_path: Path) -> None:
    """No process is left behind, whatever it was doing."""
    base = make_base(tmp_path / "base")
    (tmp_path / "recipe.json").write_text(RECIPE.model_dump_json())
    script = (
        "import os, signal, sys; from multiprocessing import active_children; from pathlib import Path\n"
        "from tests.training.trainkit import Recipe, run\n"
        "if __name__ == '__main__':\n"
        "    import expert_system.training.train as t; t.count_replicas = lambda *_: 2\n"
        "    def end(step): print(active_children()[0].pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
        "    run(Recipe.model_validate_json(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]), Path(sys.argv[3]), end)\n"
    )
    (tmp_path / "killed.py").write_text(script)
    command = [
        sys.executable,
        str(tmp_path / "killed.py"),
        *map(str, (tmp_path / "recipe.json", base, tmp_path / "out")),
    ]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(Path.cwd())}, capture_output=True, text=True, check=False
    )
    other = int(done.stdout)

    for _ in range(100):
        if not Path(f"/proc/{other}").exists():
            break
        time.sleep(0.1)
    else:
        pytest.fail("the other process went on")
    assert "Traceback" not in done.stderr

"""Where the CPU's worker runs, without an engine."""

from __future__ import annotations

import os

import pytest

from expert_system.engine import worker_place


@pytest.mark.parametrize(("cores", "expected"), [([0, 1], "0-1"), ([3], "3-3"), ([0, 2, 3], "0,2,3")], ids=str)
def test_cores_are_written_as_vllm_reads_them(cores: list[int], expected: str) -> None:
    """vllm.md, Speed: both cores of a small machine compute."""
    assert expected == worker_place.binding(cores)


def test_the_worker_shares_the_engines_process_when_the_binding_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A4.5: one process less to start; what the user has decided about threads or workers stays vLLM's to do."""
    monkeypatch.setenv(worker_place.BINDING_VARIABLE, worker_place.binding(sorted(os.sched_getaffinity(0))))
    assert ["distributed_executor_backend"] == list(worker_place.executor({}))
    assert {} == worker_place.executor({"tensor_parallel_size": 2})
    monkeypatch.setenv(worker_place.BINDING_VARIABLE, "nobind")
    assert {} == worker_place.executor({})


def test_openmp_variables_are_for_the_child_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's own process keeps its variables, set or not."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("GOMP_CPU_AFFINITY", raising=False)
    with worker_place.openmp({"distributed_executor_backend": object()}):
        assert str(len(os.sched_getaffinity(0))) == os.environ["OMP_NUM_THREADS"]
        assert " ".join(map(str, sorted(os.sched_getaffinity(0)))) == os.environ["GOMP_CPU_AFFINITY"]
    assert "7" == os.environ["OMP_NUM_THREADS"]
    assert "GOMP_CPU_AFFINITY" not in os.environ
    with worker_place.openmp({}):
        assert "7" == os.environ["OMP_NUM_THREADS"]

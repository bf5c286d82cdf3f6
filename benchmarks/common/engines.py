"""Engines in child processes, all alive at once and all but the measured one stopped.

    Setup -> child (runner.py) -> ready, stopped -> measure(): continue, warm up, run, stop

Idle engines poll; SIGSTOP keeps their threads off the cores while another one is measured.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common.experts import Shelf
from benchmarks.common.jobs import Action, Flavour, Members, Request, Run, Setup, run_of

ROOT = Path(__file__).resolve().parents[2]
WARM_TOKENS = 3
"""Answers of the warm-up before each run: enough to attach the run's sets and touch their weights."""
STOP_TIMEOUT_S = 30.0


class EngineDied(RuntimeError):
    """The child ended; the message has the end of its log."""


class EngineProcess:
    """One child with one engine."""

    def __init__(self, setup: Setup, shelf: Shelf, log: Path) -> None:
        """Start it; `wait` returns when it is ready."""
        self.setup = setup
        self._log = log
        places = {"base": str(shelf.base), "home": str(shelf.home), "adapters": str(shelf.folder(""))}
        self._child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.common.runner", json.dumps(asdict(setup)), json.dumps(places), str(log)],
            cwd=ROOT,
            env=environment(setup),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> float:
        """Return the seconds that starting took; the engine is stopped until it is measured."""
        started: float = self._read()["started_s"]
        self.pause()
        return started

    def ask(self, job: str, **fields: Any) -> Any:
        """Have one job done."""
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps({"job": job, **fields}) + "\n")
        self._child.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            tail = self._log.read_text(errors="replace")[-3000:] if self._log.exists() else ""
            raise EngineDied(f"the {self.setup.flavour} engine ended:\n{tail}")
        return json.loads(line)

    def run(self, requests: Sequence[Request], actions: Sequence[Action] = ()) -> Run:
        """Run requests on an engine that is not paused."""
        answer = self.ask(
            "run", requests=[asdict(request) for request in requests], actions=[asdict(action) for action in actions]
        )
        return run_of(answer)

    def measure(self, requests: Sequence[Request]) -> Run:
        """Continue, warm up with the same sets and other prompts, run, stop."""
        with self.awake():
            # The prompt is turned around: the prefix cache must not know the measured one.
            self.run([replace(request, ids=request.ids[::-1], tokens=WARM_TOKENS, at_s=0.0) for request in requests])
            return self.run(requests)

    def load(self, members: Members) -> dict[str, float]:
        """Load a set; seconds by stage."""
        seconds: dict[str, float] = self.ask("load", members=members)
        return seconds

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Continue the engine for this block."""
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.pause()

    def pause(self) -> None:
        """Stop all its processes where they are."""
        self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes():
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue

    def _processes(self) -> list[psutil.Process]:
        try:
            own = psutil.Process(self._child.pid)
            return [own, *own.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def close(self) -> None:
        """End it and its children."""
        family = self._processes()
        self._signal(signal.SIGCONT)
        assert self._child.stdin is not None
        self._child.stdin.close()
        try:
            self._child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
        _, alive = psutil.wait_procs(family, timeout=5)
        for process in alive:
            process.kill()


@contextmanager
def engines(shelf: Shelf, setups: Mapping[str, Setup]) -> Iterator[dict[str, EngineProcess]]:
    """Start engines side by side; each is ready and paused."""
    with ExitStack() as stack:
        found = {}
        for name, setup in setups.items():
            found[name] = EngineProcess(setup, shelf, shelf.work / f"{name}.log")
            stack.callback(found[name].close)
        for engine in found.values():
            engine.wait()
        yield found


def environment(setup: Setup) -> dict[str, str]:
    """Variables of one child: the user's own settings of vLLM would make flavours differ, so they are left out."""
    cores = sorted(os.sched_getaffinity(0))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VLLM_", "EXPERT_"))}
    if not setup.bytecode:
        kept |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": "/nonexistent"}
    if setup.flavour is not Flavour.EXPERTS:
        if not setup.packed:
            kept["VLLM_PLUGINS"] = ""
        kept |= {
            "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores)),
            "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
            "VLLM_NO_USAGE_STATS": "1",
        }
    return kept

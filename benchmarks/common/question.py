"""The command line that every benchmark has, and the way from its question to its table and its file."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import machine, report

RESULTS = Path(__file__).resolve().parents[1] / "results"
BASE = "smollm2-135m-instruct"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How thoroughly to measure, on what."""

    short: bool
    base: Path
    work: Path
    """Scratch: experts are made there once, engines log there."""
    repeats: int | None
    """Pairs of runs; None is the benchmark's own number."""
    tokens: int | None
    """Tokens of each answer; None is the benchmark's own number."""
    llama_cpp: Path | None
    """A llama.cpp source tree that was built; only benchmarks.alternatives uses it."""

    def choose(self, full: int, short: int) -> int:
        """Repeats: as asked for, else the benchmark's own."""
        return self.repeats or (short if self.short else full)

    def answer_tokens(self, full: int, short: int) -> int:
        """Tokens of an answer: as asked for, else the benchmark's own."""
        return self.tokens or (short if self.short else full)


def ask(name: str, question: str, measure: Callable[[Options], report.Answer]) -> None:
    """Parse the command line, measure, print and write.

    Args:
        name: of the module and the result file.
        question: the table's title.
        measure: does the work.
    """
    home = Path(os.environ.get("EXPERT_HOME") or Path.home() / ".expert")
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=question)
    parser.add_argument("--short", action="store_true", help="under three minutes, fewer repeats")
    parser.add_argument("--base", type=Path, default=home / "bases" / BASE, help="folder of the base model")
    parser.add_argument("--work", type=Path, help="scratch folder to keep; a temporary one otherwise")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON file goes")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--llama-cpp", type=Path, help="a llama.cpp tree that was built, for benchmarks.alternatives")
    given = parser.parse_args()
    if not given.base.is_dir():
        sys.exit(f"{given.base} is no folder; run scripts/setup, or name a base with --base")
    # An engine that is stopped outlives us unless it is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    about = {"machine": machine.describe(), "short": given.short}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        options = Options(
            short=given.short,
            base=given.base.resolve(),
            work=(given.work or Path(scratch)).resolve(),
            repeats=given.repeats,
            tokens=given.tokens,
            llama_cpp=given.llama_cpp,
        )
        options.work.mkdir(parents=True, exist_ok=True)
        answer = measure(options)
    command = f"python -m benchmarks.{name}" + (" --short" if given.short else "")
    about |= {"command": command, "took_s": round(time.perf_counter() - started)}
    content = report.result(name, question, answer, about)
    report.show(content)
    print(f"written: {report.write(given.results, content)}")

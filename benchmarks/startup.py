"""How long does an engine take to start, and what have our changes to it saved?"""

from __future__ import annotations

from collections import defaultdict

from benchmarks.common.engines import EngineProcess
from benchmarks.common.experts import Shelf
from benchmarks.common.jobs import Flavour, Setup
from benchmarks.common.progress import progress
from benchmarks.common.question import Options, ask
from benchmarks.common.report import Answer, Column
from benchmarks.common.statistics import ratios, spread

QUESTION = "Start of an engine, from nothing to ready"
SHIPPED = "Expert System"
SETUPS = {
    SHIPPED: Setup(flavour=Flavour.EXPERTS),
    "… with vLLM's worker process": Setup(flavour=Flavour.EXPERTS, own_worker=True),
    "… and every import compiled anew": Setup(flavour=Flavour.EXPERTS, own_worker=True, bytecode=False),
    "vLLM without LoRA": Setup(flavour=Flavour.PLAIN),
}


def measure(options: Options) -> Answer:
    """Start each in turn, round after round, with nothing else running."""
    shelf = Shelf(options.base, options.work)
    shelf.home.mkdir(parents=True, exist_ok=True)
    rounds = options.choose(5, 1)
    seconds = defaultdict(list)
    for _ in range(rounds):
        for name, setup in SETUPS.items():
            engine = EngineProcess(setup, shelf, shelf.work / "startup.log")
            try:
                seconds[name].append(engine.wait())
            finally:
                engine.close()
            progress(f"{name}: {seconds[name][-1]:.1f} s")
    return Answer(
        columns=(
            Column("engine", "engine"),
            Column("seconds", "seconds", 1),
            Column("ratio", "of the Expert System's", 2),
        ),
        rows=[
            {"engine": name, "seconds": spread(found), "ratio": spread(ratios(found, seconds[SHIPPED]))}
            for name, found in seconds.items()
        ],
        settings={"rounds": rounds, "dtype": "bfloat16"},
        notes=("From the start of the child process: its own imports count too.",),
    )


if __name__ == "__main__":
    ask("startup", QUESTION, measure)

"""What would torch.compile bring to the base, which vLLM gives up on the CPU as soon as LoRA is enabled?"""

from __future__ import annotations

from benchmarks.common.engines import EngineProcess
from benchmarks.common.experts import Shelf
from benchmarks.common.jobs import Flavour, Members, Setup
from benchmarks.common.pairs import requests
from benchmarks.common.progress import progress
from benchmarks.common.question import Options, ask
from benchmarks.common.report import Answer, Cell, Column
from benchmarks.common.statistics import spread
from expert_system.package.base import describe_base

QUESTION = "The base alone: eager, compiled, and in the Expert System"
SETUPS = {
    "vLLM, eager": Setup(flavour=Flavour.PLAIN),
    "vLLM, compiled": Setup(flavour=Flavour.PLAIN, compiled=True),
    "vLLM, compiled, our packed product": Setup(flavour=Flavour.PLAIN, compiled=True, packed=True),
    "Expert System": Setup(flavour=Flavour.EXPERTS),
}


def measure(options: Options) -> Answer:
    """All alive at once, measured in turn."""
    shelf = Shelf(options.base, options.work)
    shelf.home.mkdir(parents=True, exist_ok=True)
    vocabulary = describe_base(options.base).architecture.vocabulary
    tokens = options.answer_tokens(64, 32)
    rounds = options.choose(5, 2)
    alive: dict[str, EngineProcess] = {}
    started: dict[str, float] = {}
    try:
        for name, setup in SETUPS.items():
            alive[name] = EngineProcess(setup, shelf, shelf.work / f"{len(alive)}.log")
            started[name] = alive[name].wait()
            progress(f"{name}: started in {started[name]:.0f} s")
        rows: list[dict[str, Cell]] = []
        for concurrency in (1, 16):
            members: list[Members] = [()] * concurrency
            speed: dict[str, list[float]] = {name: [] for name in SETUPS}
            for turn in range(rounds):
                asked = requests(members, tokens=tokens, vocabulary=vocabulary, seed=turn + 100 * concurrency)
                for name, engine in alive.items():
                    speed[name].append(engine.measure(asked).tokens_per_s)
            rows += [
                {"concurrent": concurrency, "engine": name, "tokens_per_s": spread(found), "started_s": started[name]}
                for name, found in speed.items()
            ]
            progress(f"{concurrency} concurrent: done")
    finally:
        for engine in alive.values():
            engine.close()
    return Answer(
        columns=(
            Column("concurrent", "concurrent", 0),
            Column("engine", "engine"),
            Column("tokens_per_s", "tokens/s", 0),
            Column("started_s", "started in, s", 0),
        ),
        rows=rows,
        settings={"tokens": tokens, "rounds": rounds, "dtype": "bfloat16"},
        notes=("The start of the compiled engine includes compiling where its cache does not have the base yet.",),
    )


if __name__ == "__main__":
    ask("compiled", QUESTION, measure)

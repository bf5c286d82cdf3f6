"""What does the same work cost with what a user would pick instead: PEFT's generate, or llama.cpp?

llama.cpp takes part when --llama-cpp names a source tree of it that was built here.
"""

from __future__ import annotations

from benchmarks.common.engines import engines
from benchmarks.common.experts import RANK, Shelf
from benchmarks.common.gguf import SERVER, convert
from benchmarks.common.jobs import Flavour, Members, Setup
from benchmarks.common.pairs import COLUMNS, Case, distinct, interleave, sets
from benchmarks.common.progress import progress
from benchmarks.common.question import Options, ask
from benchmarks.common.report import Answer, Cell, Column
from expert_system.package.base import describe_base

QUESTION = "The same prompts, adapters and cores with PEFT and with llama.cpp"
CONCURRENT, EXPERTS, TEN = 16, 16, "one set of ten"
TITLES = {"experts": "Expert System", "peft": "PEFT generate", "llama": "llama.cpp server"}


def measure(options: Options) -> Answer:
    """Measure whoever is there."""
    shelf = Shelf(options.base, options.work)
    names = shelf.names(EXPERTS)
    tokens = options.answer_tokens(64, 16)
    rounds = options.choose(3, 1)
    workloads: list[tuple[str, list[Members]]] = [
        (str(count), distinct(names, count, concurrency))
        for concurrency, counts in ((1, (0, 1)), (CONCURRENT, (0, 1, 4, 16)))
        for count in counts
    ]
    workloads += [(TEN, sets(names, 10, 1, concurrency)) for concurrency in (1, CONCURRENT)]
    setups = {
        "plain": Setup(flavour=Flavour.PLAIN),
        "experts": Setup(flavour=Flavour.EXPERTS),
        "peft": Setup(flavour=Flavour.PEFT, adapters=names),
    }
    notes = ["PEFT answers a whole batch at once: no streams, and requests that arrive later wait for its end."]
    if options.llama_cpp is None:
        notes.append("llama.cpp was not measured; --llama-cpp names a source tree in which it was built.")
    else:
        folder = convert(shelf, names, options.llama_cpp)
        setups["llama"] = Setup(
            flavour=Flavour.LLAMA,
            adapters=names,
            max_sequences=CONCURRENT,
            gguf=str(folder),
            llama_server=str(options.llama_cpp / SERVER),
        )
        notes.append("llama.cpp batches only requests whose adapters and scales are equal.")
    cases = []
    for label, members in workloads:
        for engine, title in TITLES.items():
            # A row of PEFT's batch has one adapter.
            if engine in setups and not (engine == "peft" and label == TEN):
                labels: dict[str, Cell] = {"concurrent": len(members), "sets": label, "engine": title}
                cases.append(Case(engine=engine, members=members, rounds=rounds, labels=labels))
    vocabulary = describe_base(options.base).architecture.vocabulary
    with engines(shelf, setups) as running:
        rows = interleave(running, cases, tokens=tokens, vocabulary=vocabulary, progress=progress)
    shown = ("tokens_per_s", "reference_per_s", "retained")
    return Answer(
        columns=(
            Column("concurrent", "concurrent"),
            Column("sets", "distinct sets"),
            Column("engine", "engine"),
            *(column for column in COLUMNS if column.key in shown),
        ),
        rows=[{key: value for key, value in row.items() if key != "added_ms"} for row in rows],
        settings={"tokens": tokens, "rank": RANK, "rounds": rounds, "dtype": "bfloat16"},
        notes=notes,
    )


if __name__ == "__main__":
    ask("alternatives", QUESTION, measure)

"""How much of the base model's throughput is left, by the number of distinct sets in the batch?

Three engines, alive at once and measured in turn: vLLM without LoRA, vLLM with its own CPU kernels for LoRA, and ours.
"""

from __future__ import annotations

from benchmarks.common.engines import engines
from benchmarks.common.experts import RANK, Shelf
from benchmarks.common.jobs import Flavour, Members, Setup
from benchmarks.common.pairs import COLUMNS, Case, distinct, interleave, sets
from benchmarks.common.progress import progress
from benchmarks.common.question import Options, ask
from benchmarks.common.report import Answer, Cell, Column
from expert_system.package.base import describe_base

QUESTION = "Throughput retained by number of distinct sets in the batch"
CONCURRENT = 16
TITLES = {"experts": "Expert System", "stock": "vLLM's LoRA kernels"}


def measure(options: Options) -> Answer:
    """Measure all cases."""
    shelf = Shelf(options.base, options.work)
    names = shelf.names(CONCURRENT)
    tokens = options.answer_tokens(64, 32)
    rounds = options.choose(5, 2)
    cases = []

    def add(engine: str, label: str, members: list[Members], rounds: int) -> None:
        labels: dict[str, Cell] = {"engine": TITLES[engine], "concurrent": len(members), "sets": label}
        cases.append(Case(engine=engine, members=members, rounds=rounds, labels=labels))

    for count in (0, 1, 4, 8, 16):
        add("experts", str(count), distinct(names, count, CONCURRENT), rounds)
    add("experts", "one set of ten", sets(names, 10, 1, CONCURRENT), rounds)
    for count in (0, 1):
        add("experts", str(count), distinct(names, count, 1), rounds)
    add("experts", "one set of ten", sets(names, 10, 1, 1), rounds)
    stock_rounds = options.choose(2, 1)  # slow, and not what the targets are about
    for count in (0, 1, 4, 8, 16):
        add("stock", str(count), distinct(names, count, CONCURRENT), stock_rounds)
    for count in (0, 1):
        add("stock", str(count), distinct(names, count, 1), stock_rounds)

    setups = {
        "plain": Setup(flavour=Flavour.PLAIN),
        "experts": Setup(flavour=Flavour.EXPERTS, max_rank=256),
        "stock": Setup(flavour=Flavour.STOCK, max_rank=RANK),
    }
    vocabulary = describe_base(options.base).architecture.vocabulary
    with engines(shelf, setups) as running:
        rows = interleave(running, cases, tokens=tokens, vocabulary=vocabulary, progress=progress)
    return Answer(
        columns=(
            Column("engine", "engine"),
            Column("concurrent", "concurrent", 0),
            Column("sets", "distinct sets"),
            *COLUMNS,
        ),
        rows=rows,
        settings={"tokens": tokens, "rank": RANK, "rounds": rounds, "rounds_stock": stock_rounds, "dtype": "bfloat16"},
        notes=(
            "max_lora_rank is 256 for the Expert System and 16, its best case, for vLLM's kernels.",
            "vLLM's CPU kernels give base rows the last slot's adapter when every slot is full, so some answers are wrong.",
        ),
    )


if __name__ == "__main__":
    ask("throughput", QUESTION, measure)

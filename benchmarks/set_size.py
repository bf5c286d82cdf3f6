"""What does a set of several experts cost, compared with a set of one?"""

from __future__ import annotations

from benchmarks.common.engines import engines
from benchmarks.common.experts import RANK, Shelf
from benchmarks.common.jobs import Flavour, Setup
from benchmarks.common.pairs import COLUMNS, Case, interleave, sets
from benchmarks.common.progress import progress
from benchmarks.common.question import Options, ask
from benchmarks.common.report import Answer, Column
from expert_system.package.base import describe_base

QUESTION = "Throughput retained by experts in a set"
SIZES = (1, 2, 4, 10)
WORKLOADS = ((1, 1), (16, 1), (16, 4))
"""Requests at once, and how many different sets they use."""


def measure(options: Options) -> Answer:
    """Measure all sizes and workloads."""
    shelf = Shelf(options.base, options.work)
    names = shelf.names(16)
    tokens = options.answer_tokens(64, 32)
    rounds = options.choose(5, 2)
    cases = [
        Case(
            engine="experts",
            members=sets(names, size, count, concurrency),
            rounds=rounds,
            labels={"concurrent": concurrency, "sets": count, "size": size},
        )
        for concurrency, count in WORKLOADS
        for size in SIZES
    ]
    vocabulary = describe_base(options.base).architecture.vocabulary
    setups = {"plain": Setup(flavour=Flavour.PLAIN), "experts": Setup(flavour=Flavour.EXPERTS)}
    with engines(shelf, setups) as running:
        rows = interleave(running, cases, tokens=tokens, vocabulary=vocabulary, progress=progress)
    return Answer(
        columns=(
            Column("concurrent", "concurrent"),
            Column("sets", "distinct sets"),
            Column("size", "experts in a set"),
            *COLUMNS,
        ),
        rows=rows,
        settings={"tokens": tokens, "rank": RANK, "rounds": rounds, "max_lora_rank": 256, "dtype": "bfloat16"},
    )


if __name__ == "__main__":
    ask("set_size", QUESTION, measure)

"""Which number format is the faster one on this processor?"""

from __future__ import annotations

from benchmarks.common.engines import engines
from benchmarks.common.experts import RANK, Shelf
from benchmarks.common.jobs import Flavour, Setup
from benchmarks.common.pairs import distinct, requests
from benchmarks.common.progress import progress
from benchmarks.common.question import Options, ask
from benchmarks.common.report import Answer, Cell, Column
from benchmarks.common.statistics import spread
from expert_system.engine import precision
from expert_system.package.base import describe_base

QUESTION = "The Expert System in BF16 and in FP32 on this processor"
FORMATS = ("bfloat16", "float32")
WORKLOADS = ((1, 0), (1, 1), (16, 0), (16, 4))
"""Requests at once, and how many different experts they use, one each."""


def measure(options: Options) -> Answer:
    """Both alive at once, measured in turn."""
    shelf = Shelf(options.base, options.work)
    names = shelf.names(4)
    vocabulary = describe_base(options.base).architecture.vocabulary
    tokens = options.answer_tokens(64, 16)
    rounds = options.choose(3, 2)
    rows: list[dict[str, Cell]] = []
    with engines(shelf, {name: Setup(flavour=Flavour.EXPERTS, dtype=name) for name in FORMATS}) as running:
        for concurrency, count in WORKLOADS:
            members = distinct(names, count, concurrency)
            speed: dict[str, list[float]] = {name: [] for name in FORMATS}
            for turn in range(rounds):
                asked = requests(members, tokens=tokens, vocabulary=vocabulary, seed=turn + 100 * concurrency)
                for name in FORMATS:
                    speed[name].append(running[name].measure(asked).tokens_per_s)
            ratios = [wide / narrow for narrow, wide in zip(*speed.values(), strict=True)]
            rows.append(
                {"concurrent": concurrency, "sets": count}
                | {name: spread(found) for name, found in speed.items()}
                | {"ratio": spread(ratios)}
            )
            progress(f"{concurrency} concurrent, {count} sets: done")
    return Answer(
        columns=(
            Column("concurrent", "concurrent", 0),
            Column("sets", "distinct sets", 0),
            *(Column(name, f"{name}, tokens/s", 0) for name in FORMATS),
            Column("ratio", "float32 to bfloat16"),
        ),
        rows=rows,
        settings={"tokens": tokens, "rank": RANK, "rounds": rounds, "auto": precision.chosen(precision.AUTO)},
        notes=("`auto` in the settings below is what the engine chooses on this processor.",),
    )


if __name__ == "__main__":
    ask("precision", QUESTION, measure)

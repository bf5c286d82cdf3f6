"""What do the experts' rank and the width of the slots (max_lora_rank) cost?"""

from __future__ import annotations

from benchmarks.common.engines import engines
from benchmarks.common.experts import Shelf
from benchmarks.common.jobs import Flavour, Setup
from benchmarks.common.pairs import COLUMNS, Case, distinct, interleave
from benchmarks.common.progress import progress
from benchmarks.common.question import Options, ask
from benchmarks.common.report import Answer, Column
from expert_system.package.base import describe_base

QUESTION = "Throughput retained by rank and by width of a slot (16 at once, 4 distinct experts)"
CONCURRENT, DISTINCT = 16, 4
WIDTHS = {8: (256,), 16: (16, 64, 256), 64: (256,)}
"""max_lora_rank measured for each rank."""
STOCK_WIDTHS = (16, 64)


def measure(options: Options) -> Answer:
    """Measure ours at every width, and vLLM's own kernels at two."""
    shelf = Shelf(options.base, options.work)
    tokens = options.answer_tokens(64, 32)
    rounds = options.choose(5, 2)
    stock_rounds = options.choose(2, 1)
    pairs = [(rank, width) for rank, widths in WIDTHS.items() for width in widths]
    cases = [
        Case(
            engine=f"experts-{width}",
            members=distinct(shelf.names(DISTINCT, rank), DISTINCT, CONCURRENT),
            rounds=rounds,
            labels={"engine": "Expert System", "rank": rank, "width": width},
        )
        for rank, width in pairs
    ]
    setups = {"plain": Setup(flavour=Flavour.PLAIN)}
    setups |= {f"experts-{width}": Setup(flavour=Flavour.EXPERTS, max_rank=width) for _, width in pairs}
    for width in STOCK_WIDTHS:
        setups[f"stock-{width}"] = Setup(flavour=Flavour.STOCK, max_rank=width, slots=DISTINCT + 1)
        cases.append(
            Case(
                engine=f"stock-{width}",
                members=distinct(shelf.names(DISTINCT, 16), DISTINCT, CONCURRENT),
                rounds=stock_rounds,
                labels={"engine": "vLLM's LoRA kernels", "rank": 16, "width": width},
            )
        )
    vocabulary = describe_base(options.base).architecture.vocabulary
    with engines(shelf, setups) as running:
        rows = interleave(running, cases, tokens=tokens, vocabulary=vocabulary, progress=progress)
    return Answer(
        columns=(Column("engine", "engine"), Column("rank", "rank"), Column("width", "max_lora_rank"), *COLUMNS),
        rows=rows,
        settings={"tokens": tokens, "rounds": rounds, "rounds_stock": stock_rounds, "dtype": "bfloat16"},
    )


if __name__ == "__main__":
    ask("rank", QUESTION, measure)

"""How does the system answer when a hundred experts share fewer slots, a few of them are popular, and requests come in bursts?

The workload is that of S-LoRA (Sheng et al., MLSys 2024): Gamma arrivals, power-law popularity; requests arrive whether
or not earlier ones have been answered, and the time to the first token counts from the arrival.
"""

from __future__ import annotations

import numpy as np

from benchmarks.common.engines import EngineProcess, engines
from benchmarks.common.experts import RANK, Shelf
from benchmarks.common.jobs import Flavour, Request, Run, Setup
from benchmarks.common.progress import progress
from benchmarks.common.question import Options, ask
from benchmarks.common.report import Answer, Cell, Column
from benchmarks.common.statistics import percentile
from benchmarks.common.workload import gamma_arrivals, prompts, zipf_choices
from expert_system.package.base import describe_base

QUESTION = "Latency with 100 experts of Zipf popularity and Gamma arrivals"
EXPERTS, SLOTS, EXPONENT = 100, 8, 1.0
RATE_PER_S = 3.0
PROMPTS, ANSWERS = (16, 128), (8, 64)
"""Smallest and largest number of tokens, uniform in between."""


def measure(options: Options) -> Answer:
    """Play the same arrivals to the base without experts and to ours."""
    shelf = Shelf(options.base, options.work)
    names = shelf.names(EXPERTS)
    duration_s = options.choose(60, 15)
    vocabulary = describe_base(options.base).architecture.vocabulary
    setups = {
        "plain": Setup(flavour=Flavour.PLAIN),
        "experts": Setup(flavour=Flavour.EXPERTS, slots=SLOTS),
    }
    rows: list[dict[str, Cell]] = []
    with engines(shelf, setups) as running:
        for engine in running.values():
            engine.measure(arrivals([], duration_s=2, variation=1.0, vocabulary=vocabulary, seed=99))
        # The first run of ours reads every expert that it meets from the disk; the second finds them in memory.
        for memory in ("cold", "warm"):
            rows.append(row(running, "experts", names, 1.0, duration_s, vocabulary, memory))
        rows.append(row(running, "experts", names, 2.0, duration_s, vocabulary, "warm"))
        for variation in (1.0, 2.0):
            rows.append(row(running, "plain", [], variation, duration_s, vocabulary, "-"))
    return Answer(
        columns=(
            Column("engine", "engine"),
            Column("variation", "variation of arrivals", 0),
            Column("memory", "experts at the start"),
            Column("requests", "requests"),
            Column("first_p50", "first token p50, ms", 0),
            Column("first_p99", "p99", 0),
            Column("gap_p50", "between tokens p50, ms", 0),
            Column("gap_p99", "p99", 0),
        ),
        rows=rows,
        settings={
            "experts": EXPERTS,
            "slots": SLOTS,
            "exponent": EXPONENT,
            "rate_per_s": RATE_PER_S,
            "duration_s": duration_s,
            "prompt_tokens": PROMPTS,
            "answer_tokens": ANSWERS,
            "rank": RANK,
        },
    )


def arrivals(names: list[str], *, duration_s: float, variation: float, vocabulary: int, seed: int) -> list[Request]:
    """Requests with their arrival times; without names, to the base alone."""
    times = gamma_arrivals(RATE_PER_S, variation, duration_s, seed)
    random = np.random.default_rng(seed)
    lengths = random.integers(PROMPTS[0], PROMPTS[1] + 1, len(times))
    tokens = random.integers(ANSWERS[0], ANSWERS[1] + 1, len(times))
    choices = zipf_choices(len(times), len(names), EXPONENT, seed) if names else [0] * len(times)
    return [
        Request(
            ids=prompts(1, int(length), vocabulary, 10**6 * seed + number)[0],
            members=((names[choice], 1.0),) if names else (),
            tokens=int(count),
            at_s=time,
        )
        for number, (time, length, count, choice) in enumerate(zip(times, lengths, tokens, choices, strict=True))
    ]


def row(
    running: dict[str, EngineProcess],
    engine: str,
    names: list[str],
    variation: float,
    duration_s: float,
    vocabulary: int,
    memory: str,
) -> dict[str, Cell]:
    """Play one workload to one engine; other prompts for a second time, but the same arrivals and experts."""
    asked = arrivals(names, duration_s=duration_s, variation=variation, vocabulary=vocabulary, seed=int(10 * variation))
    if memory == "warm":
        asked = [Request(ids=one.ids[::-1], members=one.members, tokens=one.tokens, at_s=one.at_s) for one in asked]
    with running[engine].awake():
        run: Run = running[engine].run(asked)
    progress(f"{engine}, variation {variation:g}, {memory}: {len(asked)} requests")
    first = [1000 * stream.first_token_s for stream in run.streams]
    between = [1000 * gap for gap in run.gaps_s]
    return {
        "engine": "Expert System" if names else "vLLM without LoRA",
        "variation": variation,
        "memory": memory,
        "requests": len(asked),
        "first_p50": percentile(first, 50),
        "first_p99": percentile(first, 99),
        "gap_p50": percentile(between, 50),
        "gap_p99": percentile(between, 99),
    }


if __name__ == "__main__":
    ask("popularity", QUESTION, measure)

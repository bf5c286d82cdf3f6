"""Interleaved runs: reference, candidates, reference, candidates, … and the ratios of neighbours.

case -> requests (new prompts each round) -> A B A B -> tokens/s, ratio pair by pair, milliseconds added to a step
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.common.engines import EngineProcess
from benchmarks.common.jobs import Members, Request, Run
from benchmarks.common.report import Cell, Column
from benchmarks.common.statistics import ratios, spread
from benchmarks.common.workload import prompts

PROMPT_TOKENS = 32
COLUMNS = (
    Column("tokens_per_s", "tokens/s", 0),
    Column("reference_per_s", "without LoRA, tokens/s", 0),
    Column("retained", "retained", 2),
    Column("added_ms", "added per step, ms", 1),
)
"""The columns of `figures`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One candidate on one workload."""

    engine: str
    members: Sequence[Members]
    """The set of each request; as many as run at once."""
    rounds: int
    labels: Mapping[str, Cell]
    """First columns of its row."""


def requests(members: Sequence[Members], *, tokens: int, vocabulary: int, seed: int) -> list[Request]:
    """One request with each set."""
    found = prompts(len(members), PROMPT_TOKENS, vocabulary, seed)
    return [Request(ids=ids, members=chosen, tokens=tokens) for ids, chosen in zip(found, members, strict=True)]


def interleave(
    engines: Mapping[str, EngineProcess],
    cases: Sequence[Case],
    *,
    tokens: int,
    vocabulary: int,
    progress: Callable[[str], None],
) -> list[dict[str, Cell]]:
    """Measure every case next to the engine "plain", round after round; one row for each case."""
    pairs: dict[int, list[tuple[Run, Run]]] = defaultdict(list)
    for turn in range(max(case.rounds for case in cases)):
        for number, case in enumerate(cases):
            if turn >= case.rounds:
                continue
            asked = requests(case.members, tokens=tokens, vocabulary=vocabulary, seed=1000 * turn + number)
            plain = [Request(ids=request.ids, tokens=tokens) for request in asked]
            beside = engines["plain"].measure(plain)
            measured = engines[case.engine].measure(asked)
            pairs[number].append((beside, measured))
            progress(
                f"round {turn + 1}: {' '.join(map(str, case.labels.values()))}:"
                f" {measured.tokens_per_s:.0f} of {beside.tokens_per_s:.0f} tokens/s"
            )
    return [{**case.labels, **figures(pairs[number])} for number, case in enumerate(cases)]


def figures(pairs: Sequence[tuple[Run, Run]]) -> dict[str, Cell]:
    """What pairs of (without LoRA, candidate) say."""
    reference = [beside.tokens_per_s for beside, _ in pairs]
    measured = [run.tokens_per_s for _, run in pairs]
    return {
        "tokens_per_s": spread(measured),
        "reference_per_s": spread(reference),
        "retained": spread(ratios(measured, reference)),
        "added_ms": spread([run.step_ms - beside.step_ms for beside, run in pairs]),
    }


def distinct(names: Sequence[str], count: int, concurrency: int) -> list[Members]:
    """The sets of `concurrency` requests that use `count` different experts in turn; 0 is the base alone."""
    if count == 0:
        return [()] * concurrency
    return [((names[number % count], 1.0),) for number in range(concurrency)]


def sets(names: Sequence[str], size: int, count: int, concurrency: int) -> list[Members]:
    """The sets of `concurrency` requests that use `count` different sets of `size` experts in turn."""
    return [
        tuple((names[(number % count + member) % len(names)], 1.0) for member in range(size))
        for number in range(concurrency)
    ]

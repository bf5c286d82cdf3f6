"""How long does attaching take, and what do requests that are running meanwhile notice?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from benchmarks.common.engines import EngineProcess, engines
from benchmarks.common.experts import RANK, Shelf
from benchmarks.common.jobs import Action, Done, Flavour, Members, Request, Run, Setup
from benchmarks.common.progress import progress
from benchmarks.common.question import Options, ask
from benchmarks.common.report import Answer, Cell, Column
from benchmarks.common.statistics import gaps, percentile, ratios, spread
from benchmarks.common.workload import prompts
from expert_system.package.base import describe_base

QUESTION = "Attaching experts, and what neighbours notice"
SLOTS = 16
HOT, COLD, TEN = 24, 8, 10
"""Experts that take turns in the slots; experts read from the disk; members of a large set."""
STREAMS = 8
EVERY_S = 0.1
TEN_EVERY_S = 0.5
PROMPT_TOKENS = 32
AFTER_S = 0.05
"""An attachment may delay the step that is running when it ends; later steps it does not touch."""


class Bench:
    """The engine, its experts and prompts that never repeat."""

    def __init__(self, engine: EngineProcess, shelf: Shelf, names: Sequence[str], vocabulary: int) -> None:
        """Measure on a running engine."""
        self.engine = engine
        self.shelf = shelf
        self.hot = names[:HOT]
        self.cold = names[HOT : HOT + COLD]
        self._vocabulary = vocabulary
        self._seeds = iter(range(10**6))
        self._weights = (round(1 - number / 10**5, 5) for number in range(1, 10**5))

    def requests(self, sets: Sequence[Members], tokens: int) -> list[Request]:
        """One request with each set."""
        ids = prompts(len(sets), PROMPT_TOKENS, self._vocabulary, next(self._seeds))
        return [Request(ids=one, members=members, tokens=tokens) for one, members in zip(ids, sets, strict=True)]

    def variants(self, names: Sequence[str]) -> Iterator[Members]:
        """Sets of the same experts that no engine has seen: the weights differ a little."""
        for weight in self._weights:
            yield tuple((name, weight) for name in names)

    def first_token_s(self, members: Members) -> float:
        """One request alone."""
        return self.engine.run(self.requests([members], 1)).streams[0].first_token_s


def measure(options: Options) -> Answer:
    """Measure all on one engine; nothing else runs."""
    shelf = Shelf(options.base, options.work)
    names = shelf.names(HOT + COLD)
    vocabulary = describe_base(options.base).architecture.vocabulary
    setup = Setup(flavour=Flavour.EXPERTS, slots=SLOTS)
    rounds = options.choose(4, 2)
    tokens = options.answer_tokens(192, 96)
    rows: list[dict[str, Cell]] = []
    with engines(shelf, {"attach": setup}) as running, running["attach"].awake():
        bench = Bench(running["attach"], shelf, names, vocabulary)
        for part in (cold(bench, rounds), hot(bench, rounds), ten(bench, rounds), beside(bench, rounds, tokens)):
            rows += part
            progress(f"{len(rows)} figures")
    return Answer(
        columns=(
            Column("what", "what"),
            Column("unit", "unit"),
            Column("value", "measured"),
            Column("target", "target"),
        ),
        rows=rows,
        settings={"rank": RANK, "slots": SLOTS, "rounds": rounds, "tokens": tokens, "streams": STREAMS},
        notes=("Cold: the system's file cache has let go of the expert's files before each reading.",),
    )


def cold(bench: Bench, rounds: int) -> list[dict[str, Cell]]:
    """From the store on disk: read, hashed, checked, converted, mapped, attached."""
    loading, attaching = [], []
    for _ in range(rounds):
        for name in bench.cold:
            members: Members = ((name, 1.0),)
            bench.engine.ask("forget_pages", folder=str(bench.shelf.home / "store"))
            seconds = bench.engine.load(members)
            loading.append(1000 * seconds["load_s"])
            attaching.append(1000 * seconds["attach_s"])
            bench.engine.ask("unload", members=members)
    both = [load + attach for load, attach in zip(loading, attaching, strict=True)]
    return [
        row("one expert from disk into a slot", "ms", both, "100"),
        row("… of it read, hashed, checked and converted, off the engine's loop", "ms", loading),
    ]


def hot(bench: Bench, rounds: int) -> list[dict[str, Cell]]:
    """An expert in memory into a slot that another one has."""
    sets: list[Members] = [((name, 1.0),) for name in bench.hot]
    for members in sets:
        bench.first_token_s(members)
    worker, first, again = [], [], []
    for _ in range(rounds):
        for members in sets:
            first.append(1000 * bench.first_token_s(members))
            worker.append(1000 * float(bench.engine.ask("last_attach")))
            again.append(1000 * bench.first_token_s(members))
    added = [cold - warm for cold, warm in zip(first, again, strict=True)]
    return [
        row("one expert in memory into a slot, inside the step", "ms", worker, "6"),
        row("… as time to the first token that it adds", "ms", added),
    ]


def ten(bench: Bench, rounds: int) -> list[dict[str, Cell]]:
    """A set of ten that the engine has never seen, its experts in memory, into a slot."""
    worker = []
    for _, members in zip(range(8 * rounds), bench.variants(bench.hot[:TEN]), strict=False):
        bench.first_token_s(members)
        worker.append(1000 * float(bench.engine.ask("last_attach")))
        bench.engine.ask("unload", members=members)
    return [row("a set of ten in memory into a slot, inside the step", "ms", worker, "60")]


def beside(bench: Bench, rounds: int, tokens: int) -> list[dict[str, Cell]]:
    """Running streams with and without attachments beside them, in turn."""
    for name in bench.hot:
        bench.engine.ask("unload", members=[[name, 1.0]])
    for name in bench.hot[:TEN]:
        bench.engine.ask("pin", members=[[name, 1.0]])
    streams: list[Members] = [((bench.hot[number % 4], 1.0),) for number in range(STREAMS)]
    bench.engine.run(bench.requests(streams, 8))
    singles = bench.variants(bench.hot[4:5])
    tens = bench.variants(bench.hot[:TEN])
    cold = ([(name, 1.0)] for _ in iter(int, 1) for name in bench.cold)
    measured: dict[str, list[tuple[Run, Run]]] = {"memory": [], "disk": [], "ten": []}
    for _ in range(rounds):
        for kind, source, every_s in (
            ("memory", singles, EVERY_S),
            ("disk", (tuple(pairs) for pairs in cold), EVERY_S),
            ("ten", tens, TEN_EVERY_S),
        ):
            quiet = bench.engine.run(bench.requests(streams, tokens))
            actions = plan(source, every_s, quiet)
            busy = bench.engine.run(bench.requests(streams, tokens), actions)
            bench.engine.ask("unload", members=actions[-1].load)
            measured[kind].append((quiet, busy))
            progress(f"{kind}: {len(actions)} attached, step {quiet.step_ms:.1f} and {busy.step_ms:.1f} ms")
    added, usual = ([value for pair in measured["ten"] for value in stalls(*pair)[part]] for part in (0, 1))
    return [
        *(
            row(
                f"p99 gap of {STREAMS} streams, one expert attached from {kind} every 100 ms, against none",
                "ratio",
                ratios([p99_ms(busy) for _, busy in measured[kind]], [p99_ms(quiet) for quiet, _ in measured[kind]]),
                "1.5" if kind == "memory" else None,
            )
            for kind in ("memory", "disk")
        ),
        row(
            "p99 gap of the streams undisturbed",
            "ms",
            [p99_ms(quiet) for pairs in measured.values() for quiet, _ in pairs],
        ),
        row("longest step beside the attaching of a set of ten, against the usual one: added", "ms", added, "10"),
        row("… and as long without any attaching: added", "ms", usual),
    ]


def plan(source: Iterator[Members], every_s: float, quiet: Run) -> list[Action]:
    """Attachments at a steady pace for as long as a run takes, each letting go of the one before."""
    ends = max(stream.times_s[-1] for stream in quiet.streams)
    actions: list[Action] = []
    at_s = max(stream.times_s[0] for stream in quiet.streams)
    while at_s < ends:
        before = actions[-1].load if actions else ()
        actions.append(Action(at_s=at_s, load=next(source), unload=before))
        at_s += every_s
    return actions


def p99_ms(run: Run) -> float:
    """The gap that one token in a hundred exceeds."""
    return 1000 * percentile(run.gaps_s, 99)


def stalls(quiet: Run, busy: Run) -> tuple[list[float], list[float]]:
    """Milliseconds by which the longest gap around each attachment exceeds the usual longest one of an equal time.

    Returns:
        One value for each attachment, and for the same times of the quiet run: what the machine itself adds.
    """
    without = [longest_ms(quiet, Done(began_s=done.began_s, ended_s=done.ended_s)) for done in busy.actions]
    usual = median(without)
    return [longest_ms(busy, done) - usual for done in busy.actions], [gap - usual for gap in without]


def longest_ms(run: Run, done: Done) -> float:
    """The longest gap that overlaps an attachment or the step after it; 0 when no stream was running."""
    longest = 0.0
    for stream in run.streams:
        for earlier, gap in zip(stream.times_s, gaps(stream.times_s), strict=False):
            if earlier < done.ended_s + AFTER_S and earlier + gap > done.began_s:
                longest = max(longest, gap)
    return 1000 * longest


def row(what: str, unit: str, values: Sequence[float], target: str | None = None) -> dict[str, Cell]:
    """One line of the table."""
    return {"what": what, "unit": unit, "value": spread(values), "target": target}


if __name__ == "__main__":
    ask("attach", QUESTION, measure)

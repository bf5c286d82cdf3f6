"""Have a provider write a data set: ask, sift, ask for what is missing, until every part is full.

    recipe -> requests -> paid answers -> rows -> sifted -> parts + report

Promise: given the same paid answers the same parts come out, byte for byte, so a run that was killed ends as if it had
not been; a part that cannot be filled is an error, and what was paid is kept.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from expert_system.errors import ConfigError
from expert_system.training.data.inspection import HELD_OUT
from expert_system.training.data.parts import PARTS, TEST
from expert_system.training.data.pipeline import Near, pipeline
from expert_system.training.data.sifting import sift
from expert_system.training.data.splits import difficulties, mix
from expert_system.training.dataset import Part
from expert_system.training.providers.cost import Estimate, estimate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from expert_system.training.collect import Collector
    from expert_system.training.data.authoring import Assignment, Author
    from expert_system.training.data.row import Row
    from expert_system.training.data.sifting import Sifted
    from expert_system.training.providers.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Authored:
    """A finished data set and how it came about."""

    parts: Mapping[str, Part]
    report: dict[str, Any]


def outlook(author: Author, journal: Journal) -> Estimate:
    """The most that is still to be paid: every request that the recipe allows and the journal does not hold."""
    asks = [author.assignment(part, number).ask for part in PARTS for number in range(author.most(part))]
    return estimate([ask for ask in asks if ask.key not in journal.paid], author.recipe.price)


async def fill_parts(
    author: Author, collector: Collector, journal: Journal, *, cases: Sequence[Row], near: Near
) -> Authored:
    """Fill every part.

    Args:
        author: what to ask for.
        collector: who asks.
        journal: where answers are found again.
        cases: the expert's test cases, which training and validation must not contain.
        near: how near duplicates are found; the report says when they are not.

    Raises:
        ProviderError, BudgetSpent: see `Collector.collect`.
        ConfigError: a part cannot be filled within the requests that the recipe allows.
    """
    asked = dict.fromkeys(PARTS, 0)
    wanted = {part: author.wanted(part) for part in PARTS}
    while True:
        batch = [author.assignment(part, n) for part in PARTS for n in range(asked[part], wanted[part])]
        await collector.collect([assignment.ask for assignment in batch])
        asked = dict(wanted)
        state = _sifted(author, journal, asked, cases, near)
        for part in PARTS:
            short = getattr(author.recipe, part).count - len(state.rows[part])
            if short > 0:
                wanted[part] = min(author.most(part), asked[part] + -(-short // author.recipe.rows_per_request))
        if wanted == asked:
            break
    for part in PARTS:
        count = getattr(author.recipe, part).count
        if len(state.rows[part]) < count:
            raise ConfigError(
                f"the part {part} has {len(state.rows[part])} of {count} rows after {asked[part]} requests, "
                f"the most that the recipe allows ({_losses(state)}); raise `spare` or lower the count and run it "
                f"again: what was paid is kept"
            )
    recipe = author.recipe
    parts = {
        part: Part(examples=mix(state.rows[part], recipe.difficulties, getattr(recipe, part).count)) for part in PARTS
    }
    return Authored(parts=parts, report=_report(author, journal, parts, state))


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """What all answers so far amount to."""

    rows: Mapping[str, tuple[Row, ...]]
    used: tuple[str, ...]
    """Keys of the answers that were read."""
    problems: Mapping[str, int]
    steps: Mapping[str, tuple[Sifted, ...]]


def _sifted(author: Author, journal: Journal, asked: Mapping[str, int], cases: Sequence[Row], near: Near) -> _State:
    """Read every answer and sift the rows of each part, the test part first."""
    rows: dict[str, tuple[Row, ...]] = {}
    steps: dict[str, tuple[Sifted, ...]] = {}
    problems: Counter[str] = Counter()
    used: list[str] = []
    held_out = list(cases)
    # Held-out parts first: what training shares with them is dropped from training.
    for part in reversed(PARTS):
        read: list[Row] = []
        for number in range(asked[part]):
            assignment: Assignment = author.assignment(part, number)
            paid = journal.paid[assignment.ask.key]
            written = author.read(assignment, paid)
            used.append(paid.key)
            read += written.rows
            problems.update(written.problems)
        others = HELD_OUT if part == TEST else held_out
        rows[part], steps[part] = sift(read, pipeline(near, others))
        held_out += rows[part]
    return _State(rows=rows, used=tuple(used), problems=dict(problems), steps=steps)


def _losses(state: _State) -> str:
    """What became of the rows that are missing, in one line."""
    lost = Counter(state.problems)
    for steps in state.steps.values():
        for step in steps:
            lost.update(step.dropped)
    return "; ".join(f"{count} x {reason}" for reason, count in lost.most_common(5)) or "nothing was dropped"


def _report(author: Author, journal: Journal, parts: Mapping[str, Part], state: _State) -> dict[str, Any]:
    """Where the rows come from and what was dropped; holds no time of its own, so that it repeats."""
    recipe = author.recipe
    paid = [journal.paid[key] for key in state.used]
    return {
        "generator": recipe.generator,
        "models": sorted({entry.reply.model for entry in paid}),
        "answers": len(paid),
        "requests_sent": sum(entry.tries for entry in paid),
        "input_tokens": sum(entry.reply.input_tokens for entry in paid),
        "output_tokens": sum(entry.reply.output_tokens for entry in paid),
        "cost": round(sum(entry.cost for entry in paid), 6),
        "price": recipe.price.model_dump(mode="json") if recipe.price is not None else None,
        "unusable": dict(sorted(state.problems.items())),
        "topics": {part: list(topics) for part, topics in author.topics.items()},
        "sifted": {part: [asdict(step) for step in state.steps[part]] for part in parts},
        "parts": {
            name: {
                "count": len(part.examples),
                "sha256": part.sha256,
                "difficulties": difficulties(part.examples),
            }
            for name, part in parts.items()
        },
    }

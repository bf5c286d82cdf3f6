"""Asking many things within limits, and keeping every paid answer."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from expert_system.errors import ConfigError, ProviderBusy, ProviderRefused
from expert_system.training.author import Authored, fill_parts, outlook
from expert_system.training.collect import BudgetSpent, Collector
from expert_system.training.data.authoring import Author
from expert_system.training.data.parts import PARTS
from expert_system.training.data.row import Row
from expert_system.training.provider_recipe import ProviderRecipe
from expert_system.training.providers import open_provider, sends_seed
from expert_system.training.providers.interface import Ask
from expert_system.training.providers.journal import Journal
from tests.training.providers.wire import INPUT_TOKENS, KEY, OUTPUT_TOKENS, Fault, Wire

NOTHING_NEAR = "not looked for in this test"
ANSWER_COST = (INPUT_TOKENS * 1000.0 + OUTPUT_TOKENS * 2000.0) / 1_000_000
REQUESTS = 4
"""Of the whole small data set: 4 + 2 + 2 rows, two a request."""


@asynccontextmanager
async def collecting(recipe: ProviderRecipe, folder: Path) -> AsyncIterator[tuple[Author, Journal, Collector]]:
    provider = open_provider(recipe.generator)
    author = Author(recipe, sends_seed=sends_seed(recipe.generator))
    try:
        with Journal(folder / "journal.jsonl") as journal:
            collector = Collector(
                provider,
                journal,
                limits=recipe.limits,
                price=recipe.price,
                tell=lambda done: None,
                tell_wait=lambda reason, wait_s: None,
                first_backoff_s=0.01,
            )
            yield author, journal, collector
    finally:
        await provider.close()


async def written(recipe: ProviderRecipe, folder: Path, cases: tuple[Row, ...] = ()) -> Authored:
    async with collecting(recipe, folder) as (author, journal, collector):
        return await fill_parts(author, collector, journal, cases=cases, near=NOTHING_NEAR)


def asks(author: Author) -> list[Ask]:
    return [author.assignment(part, n).ask for part in PARTS for n in range(author.wanted(part))]


@pytest.mark.parametrize("provider", ["openai", "deepseek", "anthropic"])
async def test_a_provider_fills_every_part(wire: Wire, recipe: ProviderRecipe, folder: Path, provider: str) -> None:
    """The counts of the recipe come out, no topic is in two parts, and each row says where it is from."""
    authored = await written(recipe.model_copy(update={"generator": provider}), folder)

    assert {"train": 4, "validation": 2, "test": 2} == {n: len(p.examples) for n, p in authored.parts.items()}
    topics = {name: {row.template for row in part.examples} for name, part in authored.parts.items()}
    assert 4 == len({topic for found in topics.values() for topic in found}) == sum(map(len, topics.values()))
    row = authored.parts["train"].examples[0]
    assert (provider, "some-model-served") == (row.provenance["provider"], row.provenance["model"])
    assert 64 == len(row.provenance["prompt_sha256"])
    assert pytest.approx(ANSWER_COST / 2) == row.provenance["cost"]
    assert ("seed" in row.provenance) == (provider == "openai")
    assert pytest.approx(REQUESTS * ANSWER_COST) == authored.report["cost"]
    assert KEY not in (folder / "journal.jsonl").read_text() + json.dumps(authored.report)


async def test_a_busy_provider_is_asked_again(wire: Wire, recipe: ProviderRecipe, folder: Path) -> None:
    """Failures that may pass cost tries, not rows."""
    wire.faults += [Fault(status=500, body="{}"), Fault(cut=True), Fault(body='{"cho'), Fault(status=429, body="{}")]

    authored = await written(
        recipe.model_copy(update={"limits": recipe.limits.model_copy(update={"tries": 9})}), folder
    )

    assert REQUESTS + 4 == len(wire.requests)
    assert REQUESTS == authored.report["answers"]
    assert REQUESTS + 4 == authored.report["requests_sent"]


async def test_retry_after_holds_everybody(wire: Wire, recipe: ProviderRecipe, folder: Path) -> None:
    """A provider that asks for time gets it, from requests that it did not turn away too."""
    wire.faults.append(Fault(status=429, body="{}", headers={"retry-after": "0.5"}))
    alone = recipe.model_copy(update={"limits": recipe.limits.model_copy(update={"concurrent": 1})})
    started = time.monotonic()

    await written(alone, folder)

    assert 0.5 <= time.monotonic() - started
    assert REQUESTS + 1 == len(wire.requests)


async def test_tries_are_bounded_and_what_was_paid_is_kept(wire: Wire, recipe: ProviderRecipe, folder: Path) -> None:
    """A provider that stays busy ends the run; the next run asks only for what is missing."""
    one_by_one = recipe.model_copy(update={"limits": recipe.limits.model_copy(update={"concurrent": 1})})
    wire.faults += [Fault(), *[Fault(status=500, body="{}")] * 3]

    with pytest.raises(ProviderBusy, match=r"try 3 of 3.*run it again"):
        await written(one_by_one, folder)
    assert 4 == len(wire.requests)
    await written(one_by_one, folder)

    assert 4 + REQUESTS - 1 == len(wire.requests)


async def test_a_refusal_ends_the_run_after_those_under_way(wire: Wire, recipe: ProviderRecipe, folder: Path) -> None:
    """A request under way is paid, so it is waited for and kept before the failure is told."""
    wire.faults += [Fault(status=401, body='{"error": {"message": "{authorization}"}}')]

    with pytest.raises(ProviderRefused, match="401") as caught:
        await written(recipe, folder)

    assert KEY not in str(caught.value)
    with Journal(folder / "journal.jsonl") as journal:
        assert len(wire.requests) - 1 == len(journal.paid)


async def test_the_same_answers_give_the_same_bytes(wire: Wire, recipe: ProviderRecipe, folder: Path) -> None:
    """A finished data set is made again from its journal without asking anybody."""
    first = await written(recipe, folder)
    again = await written(recipe, folder)

    assert REQUESTS == len(wire.requests)
    assert {n: p.sha256 for n, p in first.parts.items()} == {n: p.sha256 for n, p in again.parts.items()}
    assert first.report == again.report


@pytest.mark.parametrize(
    "fault", [Fault(text="no JSON"), Fault(finish="length"), Fault(text='{"rows": [{"question": "?"}]}')]
)
async def test_an_unusable_answer_is_paid_and_made_up_for(
    wire: Wire, recipe: ProviderRecipe, folder: Path, fault: Fault
) -> None:
    """It stays in the journal, counts as cost, is never read as rows, and one more request fills the gap."""
    wire.faults.append(fault)
    spare = recipe.model_copy(update={"spare": 1.0})

    authored = await written(spare, folder)

    assert REQUESTS + 1 == authored.report["answers"] == len(wire.requests)
    assert pytest.approx((REQUESTS + 1) * ANSWER_COST) == authored.report["cost"]
    assert 1 == sum(authored.report["unusable"].values())


async def test_a_part_that_cannot_be_filled_says_why(wire: Wire, recipe: ProviderRecipe, folder: Path) -> None:
    """Requests are bounded by `spare`; rows are not made up."""
    wire.faults += [Fault(text="no JSON")] * 100

    with pytest.raises(ConfigError, match=r"has 0 of .* rows.*not JSON.*spare"):
        await written(recipe, folder)

    assert sum(Author(recipe, sends_seed=True).most(part) for part in PARTS) == len(wire.requests)


async def test_training_never_asks_what_a_test_case_asks(wire: Wire, recipe: ProviderRecipe, folder: Path) -> None:
    """Decontamination: a row that quotes a test case is dropped and made up for."""
    clean = await written(recipe, folder)
    told = clean.parts["train"].examples[0].prompt
    case = Row(messages=({"role": "user", "content": told.upper()},), answer="-", template="cases")

    authored = await written(recipe.model_copy(update={"spare": 1.0}), folder, cases=(case,))

    assert told not in {row.prompt for row in authored.parts["train"].examples}
    assert 4 == len(authored.parts["train"].examples)
    (step,) = [step for step in authored.report["sifted"]["train"] if step["step"] == "decontamination"]
    assert 1 == sum(step["dropped"].values())


async def test_the_cost_limit_is_never_passed(wire: Wire, recipe: ProviderRecipe, folder: Path) -> None:
    """A request's worst case is set aside before it is sent; what does not fit is not sent."""
    worst = max(ask.input_tokens * 1000.0 + 100 * 2000.0 for ask in asks(Author(recipe, sends_seed=True))) / 1_000_000
    limit = worst + ANSWER_COST
    tight = recipe.model_copy(update={"limits": recipe.limits.model_copy(update={"cost": limit})})

    with pytest.raises(BudgetSpent, match=r"raise dataset\.limits\.cost"):
        await written(tight, folder)

    with Journal(folder / "journal.jsonl") as journal:
        assert 2 <= len(journal.paid) == len(wire.requests) < REQUESTS
        assert journal.spent <= limit


async def test_the_estimate_is_the_worst_case(wire: Wire, recipe: ProviderRecipe, folder: Path) -> None:
    """What is told before is never less than what is paid, and counts only what is not paid yet."""
    async with collecting(recipe, folder) as (author, journal, collector):
        before = outlook(author, journal)
        await collector.collect(asks(author))
        after = outlook(author, journal)

        assert journal.spent <= before.cost
        assert before.requests - REQUESTS == after.requests


async def test_a_request_over_the_token_limit_is_refused_before_any_is_sent(
    wire: Wire, recipe: ProviderRecipe, folder: Path
) -> None:
    """It would wait for ever."""
    limits = recipe.limits.model_copy(update={"tokens_per_minute": 20})

    with pytest.raises(ConfigError, match="tokens_per_minute"):
        await written(recipe.model_copy(update={"limits": limits}), folder)

    assert [] == wire.requests

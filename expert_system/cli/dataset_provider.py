"""`expert-cli dataset generate` with a provider: estimate, consent, progress, result.

recipe -> estimate -> ask within the limits -> parts + report.json, every paid answer in journal.jsonl
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from expert_system.cli.connect import Place, connected
from expert_system.cli.screen import note, result
from expert_system.errors import ConfigError, ProviderBusy, ProviderRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from expert_system.client import AsyncClient
    from expert_system.training.collect import Collected
    from expert_system.training.data.pipeline import Near
    from expert_system.training.data.row import Row
    from expert_system.training.dataset import Part
    from expert_system.training.provider_recipe import ProviderRecipe
    from expert_system.training.providers.cost import Estimate
    from expert_system.training.providers.interface import Ask, Complete, Reply

JOURNAL = "journal.jsonl"
TOLD_EVERY = 10
"""Answers between two lines of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the command line asked for."""

    recipe: ProviderRecipe
    out: Path
    cases: Sequence[Row]
    near: Near
    yes: bool
    dry_run: bool
    server: str | None


def run(wanted: Run) -> Mapping[str, Part] | None:
    """Write a data set; None after a dry run.

    Raises:
        ConfigError: the estimate is over the cost limit and nobody said yes, or a part cannot be filled.
        ProviderError, BudgetSpent: the run stopped early; it can be run again.
    """
    return asyncio.run(_run(wanted))


async def _run(wanted: Run) -> Mapping[str, Part] | None:
    from expert_system.training.author import fill_parts, outlook
    from expert_system.training.collect import Collector
    from expert_system.training.data.authoring import Author
    from expert_system.training.dataset import write_parts
    from expert_system.training.providers import LOCAL, open_provider, sends_seed
    from expert_system.training.providers.journal import Journal

    recipe = wanted.recipe
    author = Author(recipe, sends_seed=sends_seed(recipe.generator))
    async with AsyncExitStack() as stack:
        journal = stack.enter_context(Journal(wanted.out / JOURNAL))
        estimate = outlook(author, journal)
        _tell_estimate(recipe, estimate, journal.spent, len(journal.paid))
        if wanted.dry_run:
            result(_estimate(recipe, estimate, journal.spent, len(journal.paid)))
            return None
        _check_consent(recipe, estimate, journal.spent, yes=wanted.yes)
        complete = None
        if recipe.generator == LOCAL:
            client = await stack.enter_async_context(connected(Place(server=wanted.server)))
            complete = completing(client, (await client.experts()).base)
        provider = open_provider(recipe.generator, complete)
        stack.push_async_callback(provider.close)
        collector = Collector(
            provider, journal, limits=recipe.limits, price=recipe.price, tell=_teller(recipe), tell_wait=_tell_wait
        )
        authored = await fill_parts(author, collector, journal, cases=wanted.cases, near=wanted.near)
        write_parts(authored.parts, wanted.out, authored.report)
        _tell_report(authored.report)
        return authored.parts


def completing(client: AsyncClient, base: str) -> Complete:
    """Our own engine as the local provider asks it: the answer is held to the schema by a grammar.

    Args:
        client: of a server.
        base: the name of its base; a recipe's model is that, or an expert on it.
    """
    from expert_system.client import RequestFailed
    from expert_system.domain import Grammar, GrammarType
    from expert_system.training.providers.interface import REQUEST_TIMEOUT_S, Reply

    async def complete(ask: Ask) -> Reply:
        try:
            answer = await client.complete(
                messages=[{"role": "system", "content": ask.system}, {"role": "user", "content": ask.user}],
                experts=[] if ask.model == base else [ask.model],
                temperature=ask.temperature,
                max_tokens=ask.max_output_tokens,
                seed=ask.seed,
                grammar=Grammar(type=GrammarType.JSON_SCHEMA, source=json.dumps(dict(ask.schema))),
                timeout_s=REQUEST_TIMEOUT_S,
            )
        except RequestFailed as failure:
            if failure.code.name in {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}:
                raise ProviderBusy(str(failure), failure.retry_after_s) from None
            raise ProviderRefused(f"{failure}; the model of the recipe is {ask.model}, the base here {base}") from None
        usage = answer.done.usage
        return Reply(
            text=answer.text,
            finish=answer.done.finish_reason.value,
            model=ask.model,
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.completion_tokens,
        )

    return complete


def _check_consent(recipe: ProviderRecipe, estimate: Estimate, spent: float, *, yes: bool) -> None:
    limit = recipe.limits.cost
    if recipe.price is None or limit is None or spent + estimate.cost <= limit or yes:
        return
    raise ConfigError(
        f"this may cost {spent + estimate.cost:.4f} {recipe.price.currency} and dataset.limits.cost is {limit:g}; raise "
        f"it, lower the counts, or start with --yes, which stops at the limit"
    )


def _estimate(recipe: ProviderRecipe, estimate: Estimate, spent: float, paid: int) -> dict[str, Any]:
    return {
        "requests_at_most": estimate.requests,
        "input_tokens_at_most": estimate.input_tokens,
        "output_tokens_at_most": estimate.output_tokens,
        "cost_at_most": round(estimate.cost, 6),
        "answers_paid_before": paid,
        "spent_before": round(spent, 6),
        "limit": recipe.limits.cost,
        "price": recipe.price.model_dump(mode="json") if recipe.price is not None else None,
    }


def _tell_estimate(recipe: ProviderRecipe, estimate: Estimate, spent: float, paid: int) -> None:
    if paid:
        note(f"{paid} answers are in the journal and are not asked for again")
    cost = "free of charge"
    if recipe.price is not None:
        cost = (
            f"at most {estimate.cost:.4f} {recipe.price.currency} at the price of {recipe.price.as_of} "
            f"({recipe.price.source}); {spent:.4f} is spent, the limit is {recipe.limits.cost:g}"
        )
    note(
        f"{recipe.generator}, {recipe.model}: at most {estimate.requests} requests, {estimate.input_tokens} tokens read "
        f"and {estimate.output_tokens} written; {cost}"
    )


def _teller(recipe: ProviderRecipe) -> Any:
    currency = recipe.price.currency if recipe.price is not None else ""

    def tell(done: Collected) -> None:
        if done.answered % TOLD_EVERY == 0 or done.answered == done.of:
            spent = f", {done.spent:.4f} {currency} spent" if currency else ""
            note(f"{done.answered} of {done.of} answers{spent}")

    return tell


def _tell_wait(reason: str, wait_s: float) -> None:
    note(f"{reason}; asking again in {wait_s:.1f} s")


def _tell_report(report: Mapping[str, Any]) -> None:
    """What was left out and why, and what near duplicates were not looked for."""
    for reason, count in report["unusable"].items():
        note(f"unusable: {count} x {reason}")
    for part, steps in report["sifted"].items():
        for step in steps:
            for reason, count in step["dropped"].items():
                note(f"{part}: {count} dropped by {step['step']}: {reason}")
    skipped = {
        step["skipped"] for steps in report["sifted"].values() for step in steps if step["step"] == "near duplicates"
    }
    for reason in skipped - {None}:
        note(f"near duplicates were not looked for: {reason}")

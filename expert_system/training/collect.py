"""Ask a provider many things at once, and keep every answer before going on.

    asks not in the journal -> window, budget -> provider.ask (again when busy) -> journal

Promise: what the journal holds is not asked again; the limits of pace and cost hold over all workers together; when one
request fails for good the others under way are finished and kept, and only then is the failure raised.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING

from expert_system.errors import ExpertSystemError, ProviderBusy
from expert_system.training.providers.cost import Budget, cost_of
from expert_system.training.providers.journal import Paid
from expert_system.training.providers.pace import FIRST_BACKOFF_S, MAX_RETRY_AFTER_S, Window, backoff_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from expert_system.training.provider_recipe import Limits, Price
    from expert_system.training.providers.interface import Ask, Provider
    from expert_system.training.providers.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """How far a run is; shown after each answer."""

    answered: int
    of: int
    spent: float


class BudgetSpent(ExpertSystemError):
    """The next request might pass the cost limit."""

    def __init__(self, limit: float, spent: float, left: int) -> None:
        """Say what was paid and what is still to be asked."""
        super().__init__(
            f"stopped at the cost limit of {limit:g}: {spent:.4f} is paid and {left} requests are left; "
            f"raise dataset.limits.cost and run it again, what was paid is kept"
        )


class Stopped(ExpertSystemError):
    """Another request of the run has failed; its error is the one that is told."""


class Collector:
    """One run's way to a provider, within its limits."""

    def __init__(
        self,
        provider: Provider,
        journal: Journal,
        *,
        limits: Limits,
        price: Price | None,
        tell: Callable[[Collected], None],
        tell_wait: Callable[[str, float], None],
        first_backoff_s: float = FIRST_BACKOFF_S,
    ) -> None:
        """Make ready; nothing is sent yet.

        Args:
            provider: who is asked.
            journal: open; it knows what was paid before.
            limits: pace, cost and tries.
            price: what an answer costs; None is free of charge.
            tell: called after each answer.
            tell_wait: called with the reason and the seconds before a request is sent again.
            first_backoff_s: bound of the first wait after a failed try.
        """
        self._provider, self._journal, self._limits, self._price = provider, journal, limits, price
        self._tell, self._tell_wait, self._first_backoff_s = tell, tell_wait, first_backoff_s
        self._window = Window(
            requests_per_minute=limits.requests_per_minute, tokens_per_minute=limits.tokens_per_minute
        )
        limit = limits.cost if price is not None and limits.cost is not None else math.inf
        self._budget = Budget(limit=limit, spent=journal.spent)
        self._settled = asyncio.Condition()
        self._failure: ExpertSystemError | None = None
        self._rng = Random()

    async def collect(self, asks: Sequence[Ask]) -> None:
        """Have an answer to every ask in the journal.

        Raises:
            ProviderError: one of them was refused, or the provider stayed busy.
            BudgetSpent: the next one might pass the cost limit.
            ConfigError: one of them alone is over a limit of pace.
        """
        pending = [ask for ask in asks if ask.key not in self._journal.paid]
        for ask in pending:
            self._window.check(ask.most_tokens)
        left = iter(pending)
        of = len(self._journal.paid) + len(pending)
        await asyncio.gather(*(self._work(left, of) for _ in range(min(self._limits.concurrent, len(pending)))))
        if self._failure is not None:
            raise self._failure

    async def _work(self, left: Iterator[Ask], of: int) -> None:
        """Take asks until none is left or somebody has failed."""
        for ask in left:
            most = cost_of(self._price, ask.input_tokens, ask.max_output_tokens)
            paid: Paid | None = None
            try:
                await self._reserve(most, left)
                try:
                    paid = await self._answer(ask)
                finally:
                    async with self._settled:
                        self._budget.settle(most, 0.0 if paid is None else paid.cost)
                        self._settled.notify_all()
            except ExpertSystemError as failure:
                self._failure = self._failure or failure
            if self._failure is not None:
                return
            self._tell(Collected(answered=len(self._journal.paid), of=of, spent=self._budget.spent))

    async def _reserve(self, most: float, left: Iterator[Ask]) -> None:
        """Set money aside; requests under way may turn out cheaper than what was set aside for them."""
        async with self._settled:
            while not self._budget.reserve(most):
                if not self._budget.under_way:
                    raise BudgetSpent(self._budget.limit, self._budget.spent, 1 + sum(1 for _ in left))
                await self._settled.wait()

    async def _answer(self, ask: Ask) -> Paid:
        """Send one request until it is answered, and keep the answer."""
        for attempt in range(1, self._limits.tries + 1):
            await self._turn(ask)
            try:
                reply = await self._provider.ask(ask)
            except ProviderBusy as busy:
                if attempt == self._limits.tries or (busy.retry_after_s or 0) > MAX_RETRY_AFTER_S:
                    raise ProviderBusy(
                        f"{busy} (try {attempt} of {self._limits.tries}); run it again later, what was paid is kept",
                        busy.retry_after_s,
                    ) from None
                wait_s = backoff_s(attempt, busy.retry_after_s, self._rng, self._first_backoff_s)
                if busy.retry_after_s is not None:
                    # Who is turned away with a time was one of many; the others need not try before it.
                    self._window.not_before = max(self._window.not_before, time.monotonic() + busy.retry_after_s)
                self._tell_wait(str(busy), wait_s)
                await asyncio.sleep(wait_s)
                continue
            paid = Paid(
                key=ask.key,
                reply=reply,
                cost=cost_of(self._price, reply.input_tokens, reply.output_tokens),
                answered_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                tries=attempt,
            )
            self._journal.append(paid)
            return paid
        raise AssertionError("the last try returns or raises")

    async def _turn(self, ask: Ask) -> None:
        """Wait until the limits of pace have room for this request, and count it.

        Raises:
            Stopped: another request has failed for good, so nothing more is sent.
        """
        # Who slept looks again: in the meantime another may have taken the room.
        while (wait_s := self._window.wait_s(time.monotonic(), ask.most_tokens)) > 0:  # noqa: ASYNC110 - time itself is awaited
            await asyncio.sleep(wait_s)
        if self._failure is not None:
            raise Stopped
        self._window.sent(time.monotonic(), ask.most_tokens)

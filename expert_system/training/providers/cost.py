"""What answers cost: an estimate before, a running total, a limit.

    tokens x price -> cost;   asks -> Estimate;   Budget: reserved + spent <= limit

Promise: the total never passes the limit, because a request's worst case is reserved before it is sent. Prices are the
recipe's, given by the author with a date; without a provider's discounts, so a total is rather too high.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from expert_system.training.provider_recipe import Price
    from expert_system.training.providers.interface import Ask

MILLION = 1_000_000


def cost_of(price: Price | None, input_tokens: int, output_tokens: int) -> float:
    """Price of one answer, in the price's currency; our own engine has none."""
    if price is None:
        return 0.0
    return (input_tokens * price.input_per_million + output_tokens * price.output_per_million) / MILLION


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The most that some requests can take."""

    requests: int
    input_tokens: int
    output_tokens: int
    cost: float


def estimate(asks: Sequence[Ask], price: Price | None) -> Estimate:
    """Add up the worst case of every request: all of its words read, all of its allowance written."""
    read, written = sum(ask.input_tokens for ask in asks), sum(ask.max_output_tokens for ask in asks)
    return Estimate(requests=len(asks), input_tokens=read, output_tokens=written, cost=cost_of(price, read, written))


@dataclass(slots=True, kw_only=True)
class Budget:
    """Money that was spent, and money that requests under way may still take."""

    limit: float
    spent: float
    reserved: float = 0.0
    under_way: int = 0
    """Requests that money is set aside for."""

    def reserve(self, most: float) -> bool:
        """Set aside the most that a request can cost; False when it does not fit under the limit."""
        if self.spent + self.reserved + most > self.limit:
            return False
        self.reserved += most
        self.under_way += 1
        return True

    def settle(self, most: float, cost: float) -> None:
        """Replace what was set aside for a request by what it cost."""
        self.under_way -= 1
        self.reserved = self.reserved - most if self.under_way else 0.0  # no residue of rounding
        self.spent += cost

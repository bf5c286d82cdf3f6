"""When to ask: how many requests and tokens fit into a minute, and how long to wait before asking again.

    (now, tokens) -> Window.wait_s -> 0 or seconds;   (attempt, Retry-After) -> backoff_s -> seconds

Promise: in no 60 seconds are more requests or tokens sent than the limits say; a provider's Retry-After is a floor,
never shortened.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from expert_system.errors import ConfigError

if TYPE_CHECKING:
    from random import Random

WINDOW_S = 60.0
FIRST_BACKOFF_S = 1.0
MAX_BACKOFF_S = 60.0
MAX_RETRY_AFTER_S = 3600.0
"""A provider that asks for more is as good as closed."""


def backoff_s(attempt: int, retry_after_s: float | None, rng: Random, first_s: float = FIRST_BACKOFF_S) -> float:
    """How long to wait after a failed try.

    Exponential with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"), on top of what the provider
    asks for, so that requests which were turned away together do not come back together.

    Args:
        attempt: tries so far, from 1.
        retry_after_s: the least that the provider asks for.
        rng: the jitter.
        first_s: the bound of the first wait, doubled with each try up to MAX_BACKOFF_S.
    """
    jitter = rng.uniform(0, min(MAX_BACKOFF_S, first_s * 2.0 ** (attempt - 1)))
    return (retry_after_s or 0.0) + jitter


@dataclass(slots=True, kw_only=True)
class Window:
    """What was sent in the last minute, and what more may be."""

    requests_per_minute: int | None
    tokens_per_minute: int | None
    not_before: float = 0.0
    """A provider asked all of us to wait until then."""
    _sent: deque[tuple[float, int]] = field(default_factory=deque)

    def check(self, tokens: int) -> None:
        """Make sure that a request of this size can ever be sent.

        Raises:
            ConfigError: it alone is over the limit.
        """
        if self.tokens_per_minute is not None and tokens > self.tokens_per_minute:
            raise ConfigError(
                f"one request may take {tokens} tokens, and limits.tokens_per_minute is {self.tokens_per_minute}; "
                f"raise it or lower max_output_tokens"
            )

    def wait_s(self, now: float, tokens: int) -> float:
        """Seconds until a request of this size may be sent; 0 is now.

        Args:
            now: a monotonic clock's seconds.
            tokens: the most that the request reads and writes.
        """
        while self._sent and self._sent[0][0] <= now - WINDOW_S:
            self._sent.popleft()
        until = self.not_before
        if self.requests_per_minute is not None and len(self._sent) >= self.requests_per_minute:
            until = max(until, self._sent[-self.requests_per_minute][0] + WINDOW_S)
        if self.tokens_per_minute is not None:
            room = self.tokens_per_minute - tokens
            for sent_at, size in reversed(self._sent):
                room -= size
                if room < 0:
                    until = max(until, sent_at + WINDOW_S)
                    break
        return max(0.0, until - now)

    def sent(self, now: float, tokens: int) -> None:
        """Count a request."""
        self._sent.append((now, tokens))

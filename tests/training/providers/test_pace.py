"""When to ask: windows, waits, Retry-After, money."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expert_system.errors import ConfigError
from expert_system.training.providers.cost import Budget
from expert_system.training.providers.pace import MAX_BACKOFF_S, WINDOW_S, Window, backoff_s
from expert_system.training.providers.sdk_errors import retry_after

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 50)), max_size=60))
def test_no_minute_holds_more_than_the_limits(steps: list[tuple[float, int]]) -> None:
    """Whenever requests come and whatever their size: waiting as long as told keeps every window within the limits."""
    window = Window(requests_per_minute=5, tokens_per_minute=100)
    now, sent = 0.0, []
    for pause, tokens in steps:
        now += pause
        while (wait := window.wait_s(now, tokens)) > 0:
            now += wait
        window.sent(now, tokens)
        sent.append((now, tokens))

    for start, _ in sent:
        inside = [tokens for at, tokens in sent if start <= at < start + WINDOW_S - 1e-6]
        assert 5 >= len(inside)
        assert 100 >= sum(inside)


def test_without_limits_nothing_waits() -> None:
    """Limits are the recipe's to set."""
    window = Window(requests_per_minute=None, tokens_per_minute=None)
    for _ in range(1000):
        window.sent(0.0, 10**9)

    assert 0.0 == window.wait_s(0.0, 10**9)


def test_a_pause_holds_everybody() -> None:
    """`not_before` is a floor for all."""
    assert 5.0 == Window(requests_per_minute=None, tokens_per_minute=None, not_before=15.0).wait_s(10.0, 1)


def test_a_request_above_the_limit_is_an_error() -> None:
    """It would wait for ever."""
    with pytest.raises(ConfigError, match="max_output_tokens"):
        Window(requests_per_minute=None, tokens_per_minute=10).check(11)


@given(st.integers(1, 200), st.floats(0, 100))
def test_backoff_grows_is_bounded_and_never_shorter_than_asked(attempt: int, asked_s: float) -> None:
    """Jitter comes on top of Retry-After."""
    wait_s = backoff_s(attempt, asked_s, Random(attempt))

    assert asked_s <= wait_s <= asked_s + min(MAX_BACKOFF_S, 2.0 ** (attempt - 1))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "-4"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after_in_all_its_forms(headers: dict[str, str], expected: float | None) -> None:
    """RFC 9110 10.2.3: seconds or a date; providers add milliseconds."""
    assert expected == retry_after(headers, NOW)


def test_money_set_aside_counts_against_the_limit() -> None:
    """Two requests that fit alone do not fit together; what was not needed is free again."""
    budget = Budget(limit=1.0, spent=0.0)

    assert budget.reserve(0.6)
    assert not budget.reserve(0.6)
    budget.settle(0.6, 0.1)
    assert budget.reserve(0.6)
    assert (0.1, 1) == (budget.spent, budget.under_way)

"""Sort what goes wrong in an SDK call into "ask again" and "do not".

    exception of the openai or anthropic SDK -> ProviderBusy(retry_after_s) | ProviderRefused

Both SDKs are generated alike: a status error has `status_code`, `response` and `body`, a connection error has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from expert_system.errors import ProviderBusy, ProviderRefused

if TYPE_CHECKING:
    from expert_system.training.providers.interface import Secret

AGAIN = frozenset({408, 409, 429})
"""Statuses below 500 that another try may change: timed out, conflict, too many requests."""
SPENT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
"""OpenAI says with these, and status 429, that the account is empty: waiting does not fill it."""
_HINTS = {
    401: "check the key in the environment",
    402: "the account has no credit left; top it up and run the command again",
    403: "the key may not use this model",
    404: "check the model's name in the recipe",
}


def translate(name: str, error: Exception, key: Secret) -> ProviderBusy | ProviderRefused:
    """The error of ours that says what the SDK's means; the key stands in neither."""
    words = key.hidden_in(str(error) or type(error).__name__)
    status = getattr(error, "status_code", None)
    if status is None:
        # No answer, half an answer, or a body that is not JSON.
        return ProviderBusy(f"{name} gave no whole answer ({type(error).__name__}: {words})")
    if _code(getattr(error, "body", None)) in SPENT:
        return ProviderRefused(
            f"{name} answered {status}: {words}; the account has no credit left, top it up and run it again"
        )
    if status in AGAIN or status >= 500:
        headers = getattr(getattr(error, "response", None), "headers", {})
        return ProviderBusy(f"{name} answered {status}: {words}", retry_after(headers, datetime.now(UTC)))
    hint = _HINTS.get(status, "change the recipe and run the command again")
    return ProviderRefused(f"{name} answered {status}: {words}; {hint}")


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait as the answer's headers say, or None: `retry-after-ms`, else `Retry-After` as seconds or a date."""
    milliseconds = headers.get("retry-after-ms")
    seconds = headers.get("retry-after")
    try:
        if milliseconds is not None:
            return max(0.0, float(milliseconds) / 1000)
        if seconds is not None:
            return max(0.0, float(seconds))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(seconds or "") - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _code(body: Any) -> str | None:
    """The provider's own word for the error: `{"error": {"code"}}` or, unwrapped by the SDK, `{"code"}`."""
    inner = body.get("error", body) if isinstance(body, dict) else None
    return inner.get("code") if isinstance(inner, dict) else None

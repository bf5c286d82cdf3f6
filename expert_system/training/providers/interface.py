"""What is asked of a provider and what comes back, whoever it is.

    Ask (words, JSON Schema, sampling) -> Provider.ask -> Reply (JSON text, tokens) | ProviderBusy | ProviderRefused

Promise: a provider raises nothing but ProviderBusy and ProviderRefused, and neither holds a key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import rfc8785

REQUEST_TIMEOUT_S = 300.0
"""How long one answer may take; the slowest models think for minutes."""
MAX_ERROR_CHARS = 300
"""Of a provider's own words in our messages."""
CHARS_PER_TOKEN = 3
"""Fewer than any provider's tokenizer makes of English or JSON, so that an estimate is rather too high."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request; equal asks are the same request."""

    provider: str
    model: str
    system: str
    user: str
    schema: Mapping[str, Any]
    """JSON Schema of the answer: an object."""
    temperature: float | None
    """None leaves it to the provider; some models take none."""
    max_output_tokens: int
    seed: int
    """Sent where the provider takes one; elsewhere it only tells requests with the same words apart."""

    @property
    def key(self) -> str:
        """The sha256 of everything that is asked, by which the journal knows the answer."""
        return hashlib.sha256(rfc8785.dumps(asdict(self))).hexdigest()

    @property
    def prompt_sha256(self) -> str:
        """The sha256 of the words and the schema alone."""
        words: Any = {"system": self.system, "user": self.user, "schema": dict(self.schema)}
        return hashlib.sha256(rfc8785.dumps(words)).hexdigest()

    @property
    def input_tokens(self) -> int:
        """An upper estimate of what is read."""
        return (len(self.system) + len(self.user) + len(rfc8785.dumps(dict(self.schema)))) // CHARS_PER_TOKEN + 1

    @property
    def most_tokens(self) -> int:
        """An upper estimate of what is read and written."""
        return self.input_tokens + self.max_output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a provider answered, and what it counts for it."""

    text: str
    """Meant to be JSON under the schema; not checked here."""
    finish: str
    """"stop", or why the text ends early: "length", "refusal", or the provider's own word."""
    model: str
    """As the provider names what answered."""
    input_tokens: int
    output_tokens: int


class Provider(Protocol):
    """Somebody who can be asked."""

    async def ask(self, ask: Ask) -> Reply:
        """Send one request, once.

        Raises:
            ProviderBusy: asking again may help.
            ProviderRefused: it will not.
        """
        ...

    async def close(self) -> None:
        """Hang up."""
        ...


Complete = Callable[[Ask], Awaitable[Reply]]
"""Our own engine, as far as the local provider needs it."""


class Secret:
    """A key that does not show."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "Secret(********)"

    def reveal(self) -> str:
        """The key itself, for the SDK alone."""
        return self._value

    def hidden_in(self, text: str) -> str:
        """A provider's words, short and without the key."""
        return " ".join(text.replace(self._value, "********").split())[:MAX_ERROR_CHARS]

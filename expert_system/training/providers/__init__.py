"""Services that write rows for us, each behind the same question and answer.

    Ask -> deepseek | openai | anthropic (official SDKs) | local (our own engine) -> Reply

Promise: keys come from the environment, are handed to the SDK and stand nowhere else: no recipe, journal, report, log
line or error holds one. Each call is one request; when to ask again is decided in `pace`, for all of them alike.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from expert_system.errors import ConfigError

if TYPE_CHECKING:
    from expert_system.training.providers.interface import Complete, Provider

LOCAL = "local"
KEYS = {"deepseek": "DEEPSEEK_API_KEY", "openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
"""Provider -> the environment variable that holds its key."""


def sends_seed(name: str) -> bool:
    """Whether a provider takes a seed; provenance only names a seed that was sent."""
    return name in {LOCAL, "openai"}


def open_provider(name: str, complete: Complete | None = None) -> Provider:
    """Make a provider ready to be asked.

    Args:
        name: a key of KEYS, or "local".
        complete: our own engine, handed over by the command line; `local` needs it.

    Raises:
        ConfigError: the key is not in the environment, or the SDK is not installed.
    """
    if name == LOCAL:
        from expert_system.training.providers.local import LocalProvider

        assert complete is not None, "the command line hands over the engine"
        return LocalProvider(complete)
    key = os.environ.get(KEYS[name], "").strip()
    if not key:
        raise ConfigError(f"the provider {name} needs a key; set the environment variable {KEYS[name]}")
    try:
        if name == "anthropic":
            from expert_system.training.providers.anthropic_api import AnthropicProvider

            return AnthropicProvider(key)
        from expert_system.training.providers.openai_api import DEEPSEEK, OPENAI, OpenAIProvider

        return OpenAIProvider(DEEPSEEK if name == "deepseek" else OPENAI, key)
    except ModuleNotFoundError as error:
        raise ConfigError(f"the provider {name} needs {error.name}; install expert-system[train]") from None

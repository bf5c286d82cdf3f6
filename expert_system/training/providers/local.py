"""Our own served engine as a provider: free of charge, offline, its answers held to the schema by a grammar.

Ask -> complete (handed over by the command line) -> Reply
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from expert_system.training.providers.interface import Ask, Complete, Reply


class LocalProvider:
    """Asks the engine behind a callable."""

    def __init__(self, complete: Complete) -> None:
        self._complete = complete

    async def ask(self, ask: Ask) -> Reply:
        """Send one request; the callable raises ProviderBusy and ProviderRefused itself."""
        return await self._complete(ask)

    async def close(self) -> None:
        """Nothing is held here; the command line closes its own connection."""

"""The router of a running server: loaded when it is first needed, and kept in step with the store.

    every POLL_S: revision changed? -> refresh in a thread -> requests see the new catalogue

Promise: a request never waits for a refresh, and an expert installed now can be chosen about POLL_S later.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable

from expert_system import telemetry
from expert_system.errors import ExpertSystemError, RouterUnavailable
from expert_system.routing.router import Router, Source

POLL_S = 1.0
_NEVER = object()


class Keeper:
    """Owns a server's router."""

    def __init__(self, load: Callable[[], Router | None], source: Source, *, enabled: str) -> None:
        """Nothing is loaded yet.

        Args:
            load: makes the router; None when this node has no router model.
            source: where its experts come from.
            enabled: the setting `router.enabled`: auto, on or off.
        """
        self._load = load
        self._source = source
        self._enabled = enabled
        self._router: Router | None = None
        self._seen: Hashable = _NEVER
        self._loading = threading.Lock()
        self._task: asyncio.Task[None] | None = None

    def current(self) -> Router | None:
        """The router for requests that name no expert; None is the base alone."""
        router = self._router
        return router if router is not None and (self._enabled == "on" or router.has_signed) else None

    def require(self) -> Router:
        """The router for a caller who asks for it; loads it when nobody did before, so call it in a thread.

        Raises:
            RouterUnavailable: routing is off, or there is no router model on this node.
        """
        if self._enabled == "off":
            raise RouterUnavailable("routing is off on this server (router.enabled); name the experts")
        router = self._router or self._loaded()
        if router is None:
            raise RouterUnavailable("this server has no router model (router.models); name the experts")
        return router

    def refresh(self) -> None:
        """Take in what changed in the store; blocks.

        Raises:
            ConfigError: the router model cannot be loaded.
        """
        revision = self._source.revision()
        if self._enabled == "off" or revision == self._seen:
            return
        self._seen = revision
        if self._router is not None:
            self._router.refresh()
        elif self._enabled == "on" or any(entry.verified for entry in self._source.entries()):
            self._loaded()

    async def start(self) -> None:
        """Load what there is, then follow the store."""
        await asyncio.to_thread(self.refresh)
        self._task = asyncio.create_task(self._follow(), name="router")

    async def stop(self) -> None:
        """Follow no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _loaded(self) -> Router | None:
        with self._loading:
            if self._router is None:
                router = self._load()
                if router is not None:
                    router.refresh()
                    self._router = router
                    telemetry.event("router", version=router.version, experts=router.experts)
            return self._router

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await asyncio.to_thread(self.refresh)
            except ExpertSystemError as error:
                # What was known stays in use; the next change of the store tries again.
                telemetry.event("router_stale", problem=str(error))
            except Exception as error:  # noqa: BLE001 - a bug here must not end the following for good
                telemetry.bug("router", error)

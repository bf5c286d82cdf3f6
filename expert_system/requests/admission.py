"""Room for a bounded number of requests at once.

    admit() -> the request runs or waits in the engine -> leaving the block makes room

Promise: never more than the limit; who finds no room is told so at once, with a time after which to try again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from expert_system.errors import EngineUnavailable, InvalidRequest, Overloaded
from expert_system.telemetry import IN_FLIGHT

RETRY_AFTER_S = 1.0
"""What a caller is told to wait: about the time in which a full node finishes one request."""


class Admission:
    """Counts the requests that were admitted and have not ended."""

    def __init__(self, limit: int) -> None:
        """Admit at most this many at once."""
        self._limit = limit
        self._inside: set[str] = set()
        self._closed = False
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def count(self) -> int:
        """Requests in flight: running, or waiting for the engine."""
        return len(self._inside)

    @contextmanager
    def admit(self, request_id: str) -> Iterator[None]:
        """Hold a place while the block runs.

        Raises:
            InvalidRequest: a request with this id is inside.
            Overloaded: all places are taken.
            EngineUnavailable: the server drains and takes no more.
        """
        if self._closed:
            raise EngineUnavailable("the server is draining; ask another one or try again when it is back")
        if request_id in self._inside:
            raise InvalidRequest("request_id", f"{request_id!r} is in flight already; choose another or none")
        if self.count >= self._limit:
            raise Overloaded(
                f"{self.count} requests are in flight, as many as this server takes (server.max_requests)",
                RETRY_AFTER_S,
            )
        self._inside.add(request_id)
        IN_FLIGHT.inc()
        self._empty.clear()
        try:
            yield
        finally:
            self._inside.discard(request_id)
            IN_FLIGHT.dec()
            if not self._inside:
                self._empty.set()

    async def close(self, grace_s: float) -> bool:
        """Admit no more and wait for those inside; True when all left within the time."""
        self._closed = True
        try:
            async with asyncio.timeout(grace_s):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

"""Counts what a source sends while it sends it, and stops it at the limit (formats.md 5.3)."""

from __future__ import annotations

import time
from typing import Any, BinaryIO

import urllib3

from expert_system.errors import SourceUnavailable

CONNECT_TIMEOUT_S = 15.0
READ_TIMEOUT_S = 120.0
FETCH_TIMEOUT_S = 1800.0
MAX_REFS_BYTES = 16 * 1024 * 1024
"""Of a server's list of references."""


class Activity:
    """Counts what a source sends, and the time it takes."""

    def __init__(self, url: str, limit_bytes: int) -> None:
        self._url = url
        self._left = limit_bytes + MAX_REFS_BYTES
        self._deadline = time.monotonic() + FETCH_TIMEOUT_S

    def report(self, count: int, kind: str) -> None:
        """Take note of `count` more bytes."""
        self._left -= count if kind == "read" else 0
        if self._left < 0:
            raise SourceUnavailable(f"{self._url} sends more than the limit; nothing of it was kept")
        if time.monotonic() > self._deadline:
            raise SourceUnavailable(f"{self._url} took longer than {FETCH_TIMEOUT_S:g} s")


class BoundedPool(urllib3.PoolManager):
    """Counts the bytes of every response."""

    def __init__(self, activity: Activity) -> None:
        super().__init__(timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S), retries=2)
        self._activity = activity

    def request(self, *args: Any, **kwargs: Any) -> urllib3.BaseHTTPResponse:
        """Send a request whose answer is counted while it is read."""
        response = super().request(*args, **kwargs)
        read = response.read

        def counted(*given: Any, **named: Any) -> bytes:
            data = read(*given, **named)
            self._activity.report(len(data), "read")
            return data

        response.read = counted  # type: ignore[method-assign]
        return response


class Sink:
    """Where a pack is written; refuses to grow above its limit."""

    def __init__(self, file: BinaryIO, limit_bytes: int, url: str) -> None:
        self._file = file
        self._limit = limit_bytes
        self._url = url

    def write(self, data: bytes) -> int:
        """Take the next bytes."""
        if self._file.tell() + len(data) > self._limit:
            raise SourceUnavailable(f"{self._url} sends a pack above {self._limit} bytes; nothing of it was kept")
        return self._file.write(data)

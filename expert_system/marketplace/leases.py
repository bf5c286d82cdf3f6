"""Keeps `gc` away from packages that a running process uses (formats.md 7.2)."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from expert_system.domain import Digest

IDLE_S = 900.0
"""A process that has not asked for a package for so long is taken not to use it any more."""
MAX_HELD = 256
"""Packages that one process holds; each takes a file descriptor, and an engine keeps fewer in memory."""


class Leases:
    """Shared locks on lease files; they end with the process, however that ends."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Name the folder of the lease files; none is made yet."""
        self._folder = folder
        self._clock = clock
        self._guard = threading.Lock()
        self._held: dict[Digest, tuple[IO[str], float]] = {}

    def touch(self, digest: Digest) -> None:
        """Hold a package from now on; let go of those that nobody asked for in IDLE_S, and of the oldest above MAX_HELD."""
        now = self._clock()
        with self._guard:
            held = self._held.pop(digest, None)
            self._held[digest] = (held[0] if held else self._lock(digest), now)
            oldest_first = list(self._held.items())
            for place, (other, (stream, used)) in enumerate(oldest_first):
                if now - used > IDLE_S or len(oldest_first) - place > MAX_HELD:
                    del self._held[other]
                    stream.close()

    def close(self) -> None:
        """Let go of everything."""
        with self._guard:
            for stream, _ in self._held.values():
                stream.close()
            self._held.clear()

    @contextmanager
    def unless_used(self, digest: Digest) -> Iterator[bool]:
        """Whether no process uses a package; none can start to until the block ends."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._file(digest).open("a") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
            with suppress(FileNotFoundError):
                self._file(digest).unlink()

    def _lock(self, digest: Digest) -> IO[str]:
        self._folder.mkdir(parents=True, exist_ok=True)
        stream = self._file(digest).open("a")
        fcntl.flock(stream, fcntl.LOCK_SH)
        return stream

    def _file(self, digest: Digest) -> Path:
        return self._folder / f"{digest}.lease"

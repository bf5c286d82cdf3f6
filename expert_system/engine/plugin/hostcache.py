"""Which host files the engine keeps: held ones always, others while the budget lasts.

    requests and pins hold members -> reference counts -> least recently used files go first

Lives in the engine core, the one process that sees every request begin and end. A pin in host memory is hard
(vllm.md, Decided 4). Promise: a file that a running or waiting request needs is never removed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from expert_system.engine.plugin.hostfiles import HostFiles, HostMember

DEFAULT_BUDGET_BYTES = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class HeldFile:
    """One host file as the server sees it."""

    key: str
    size_bytes: int
    uses: int


class HostCache:
    """Reference counts and recency of host files; safe to call from the input thread and the step loop."""

    def __init__(self, files: HostFiles, budget_bytes: int) -> None:
        """Keep at most this many bytes of files that nobody needs right now."""
        self._files = files
        self._budget_bytes = budget_bytes
        self._lock = threading.Lock()
        self._members: dict[str, HostMember] = {}
        self._sizes: dict[str, int] = {}
        self._uses: dict[str, int] = {}
        self._holders: dict[str, tuple[str, ...]] = {}

    def hold(self, holder: str, members: Sequence[HostMember]) -> None:
        """Make the members' files and keep them until `release(holder)`.

        Raises:
            AdapterRefused, IntegrityError: a member cannot be served; nothing is held then.
        """
        with self._lock:
            for member in members:
                path = self._files.ensure(member)
                self._members.pop(member.key, None)
                self._members[member.key] = member
                self._sizes[member.key] = path.stat().st_size
            keys = tuple(member.key for member in members)
            for key in keys:
                self._uses[key] = self._uses.get(key, 0) + 1
            self._release(holder)
            self._holders[holder] = keys
            self._evict()

    def release(self, holder: str) -> None:
        """The holder needs its files no more; unknown holders are no error."""
        with self._lock:
            self._release(holder)

    def _release(self, holder: str) -> None:
        for key in self._holders.pop(holder, ()):
            self._uses[key] -= 1

    def drop(self, members: Sequence[HostMember]) -> None:
        """Remove the files that nobody holds."""
        with self._lock:
            for member in members:
                if not self._uses.get(member.key):
                    self._remove(member.key)

    def contents(self) -> list[HeldFile]:
        """Every file, least recently used first."""
        with self._lock:
            return [HeldFile(key, self._sizes[key], self._uses.get(key, 0)) for key in self._members]

    def _evict(self) -> None:
        for key in list(self._members):
            if sum(self._sizes.values()) <= self._budget_bytes:
                return
            if not self._uses.get(key):
                self._remove(key)

    def _remove(self, key: str) -> None:
        member = self._members.pop(key, None)
        self._sizes.pop(key, None)
        self._uses.pop(key, None)
        if member is not None:
            self._files.path(member).unlink(missing_ok=True)

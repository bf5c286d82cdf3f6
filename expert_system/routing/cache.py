"""Decisions that were made before: the same question is answered without asking the encoder again.

Key (everything that matters, hashed) -> decision

Promise: at most `limit` decisions are kept, the least recently used go first; safe to use from several threads.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class DecisionCache(Generic[Value]):
    """A bounded cache."""

    def __init__(self, limit: int) -> None:
        """Keep at most this many; 0 keeps none."""
        self._limit = limit
        self._kept: OrderedDict[str, Value] = OrderedDict()
        self._guard = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str) -> Value | None:
        """The decision under this key."""
        with self._guard:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: str, value: Value) -> None:
        """Keep a decision."""
        with self._guard:
            self._kept[key] = value
            self._kept.move_to_end(key)
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)


def key_of(parts: Iterable[str]) -> str:
    """One key for several texts, in order; no text can reach into the next."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)
    return digest.hexdigest()

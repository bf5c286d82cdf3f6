"""Data computed from an expert and a base, kept so that it need not be computed again (formats.md 7.1).

    content -> derived/<expert digest>/<base digest>/<name> + its sha256 in state.db -> content, checked

Promise: what `read` returns is what `write` was given; anything else counts as missing, and is computed anew.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from expert_system.domain import Digest
from expert_system.marketplace.home import Home
from expert_system.marketplace.state import State


class Derived:
    """The folder `derived/` of one home."""

    def __init__(self, home: Home, state: State) -> None:
        """Keep files below this home, and their hashes in its records."""
        self._root = home.root / "derived"
        self._state = state

    def read(self, expert: Digest, base: Digest, name: str) -> bytes | None:
        """The content, or None when it is missing or is not what was written."""
        path = self._path(expert, base, name)
        expected = self._state.derived_sha256(self._key(path))
        if expected is None:
            return None
        try:
            content = path.read_bytes()
        except OSError:
            return None
        return content if hashlib.sha256(content).hexdigest() == expected else None

    def write(self, expert: Digest, base: Digest, name: str, content: bytes) -> None:
        """Keep a content: written aside, renamed, then recorded."""
        path = self._path(expert, base, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=".aside-")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(aside).replace(path)
        self._state.note_derived(self._key(path), hashlib.sha256(content).hexdigest())

    def _path(self, expert: Digest, base: Digest, name: str) -> Path:
        return self._root / expert / base / name

    def _key(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

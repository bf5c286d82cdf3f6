"""What a benchmark says while it works: on standard error, so that its table can be piped."""

from __future__ import annotations

import sys
import time

_started = time.perf_counter()


def progress(message: str) -> None:
    """Say what has just been measured."""
    print(f"[{time.perf_counter() - _started:5.0f} s] {message}", file=sys.stderr, flush=True)

"""An engine that is still referred to when its process ends leaves nothing on stderr."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, sys
from expert_system.engine.starting import silent_at_exit

class Engine:
    def __init__(self, name):
        self.name = name
    def __del__(self, write=os.write, ending=sys.is_finalizing):
        write(1, f"shut down {self.name} {'late' if ending() else 'in time'}\\n".encode())

forgotten = silent_at_exit(Engine)("forgotten")
del forgotten
kept = silent_at_exit(Engine)("kept")
plain = Engine("plain")
"""


def test_only_an_engine_that_is_forgotten_in_time_is_shut_down() -> None:
    """vLLM's own clean-up goes on where it can work; at the end of the interpreter it could only fail."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)

    assert ["shut down forgotten in time", "shut down plain late"] == ran.stdout.splitlines()
    assert "" == ran.stderr

"""Neither the start of vLLM nor the end of its process writes to the user's terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


def test_what_vllm_warns_of_while_it_is_imported_goes_to_its_log(tmp_path: Path) -> None:
    """A logger that has no handler yet writes to stderr."""
    log = tmp_path / "logs" / "engine.log"
    program = (
        "import sys; from expert_system.engine import quiet; quiet.log_to(__import__('pathlib').Path(sys.argv[1]))"
    )
    program += "; import vllm.triton_utils; print('vllm' in sys.modules)"

    ran = subprocess.run([sys.executable, "-c", program, log], capture_output=True, text=True, timeout=120, check=True)

    assert ("True\n", "") == (ran.stdout, ran.stderr)
    assert log.read_text()


def test_only_an_engine_that_is_forgotten_in_time_is_shut_down() -> None:
    """vLLM's own clean-up goes on where it can work; at the end of the interpreter it could only fail."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)

    assert ["shut down forgotten in time", "shut down plain late"] == ran.stdout.splitlines()
    assert "" == ran.stderr

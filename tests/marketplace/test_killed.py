"""A sync that is killed anywhere leaves a node that verifies and that the next sync completes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from expert_system.domain import Digest
from expert_system.marketplace.acquire import Acquirer
from expert_system.marketplace.lock import read_lock
from expert_system.marketplace.store import Store
from expert_system.marketplace.upkeep import collect, recheck
from expert_system.testing.market import Market

KILLS = int(os.environ.get("SYNC_KILLS", "3"))
"""scripts/soak raises it to 50."""
_NAMES = ["expert-a", "expert-b", "expert-c"]
_PROGRAM = """
import sys
from pathlib import Path
from expert_system.domain import Digest
from expert_system.marketplace.acquire import Acquirer
from expert_system.marketplace.store import Store
store = Store(Path(sys.argv[1]))
print("ready", flush=True)
Acquirer(store).update(tolerant=True)
"""


@pytest.mark.timeout(600)
def test_sigkill_at_random_points_of_a_sync_costs_nothing_but_time(
    market: Market, store: Store, tmp_path: Path
) -> None:
    """formats.md 7.1: a crash at any moment leaves the old or the new state."""
    for name in _NAMES:
        market.publish(name, version="1.0.0")
        Acquirer(store).install([market.source(name)])
    chance = random.Random(20261122)
    for number in range(1, KILLS + 1):
        for name in _NAMES:
            market.publish(name, version=f"1.{number}.0")
        child = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(store.home.root)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert "ready\n" == child.stdout.readline()
        time.sleep(chance.uniform(0, 0.25))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()

        assert [None] * len(store.records()) == [finding.problem for finding in recheck(store)]
        for entry in read_lock(store.home.lock).experts:
            assert entry.digest == store.by_digest(Digest(entry.digest)).digest
        assert _NAMES == [expert.manifest.name for expert in store.experts()]

        assert () == Acquirer(store).update(tolerant=True).failed
        assert {f"1.{number}.0"} == {expert.manifest.version for expert in store.experts()}
    collect(store)
    assert [] == [folder for folder in store.home.aside.iterdir() if folder.name.partition(".")[0] != str(os.getpid())]

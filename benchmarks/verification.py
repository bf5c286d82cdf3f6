"""How fast is verification, against hashing the same bytes once?

Usage: python benchmarks/verification.py [MEBIBYTES]
Prints one JSON object: seconds for sha256 alone and for all steps of verification, and their ratio (target: at most 2).
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path

from expert_system.marketplace.trust import moment, read_trust
from expert_system.marketplace.verify import Fetched, Node, verify
from expert_system.package.signing import sign_folder
from expert_system.testing.expert import make_base, make_expert
from expert_system.testing.market import PUBLISHER, Market, weights_of

REPEATS = 7


def main(mebibytes: int) -> None:
    """Measure on one expert whose weights have about this size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        market = Market(folder / "market")
        base = make_base(folder / "base" / "tiny", hidden=1024, layers=16)
        rank = max(1, min(512, mebibytes * 2**20 // (16 * (2 * 1024 + 1024 + 512) * 4)))
        expert = make_expert(folder / "expert", base, publisher=PUBLISHER, rank=rank)
        sign_folder(expert, market.key)
        store = market.store(folder / "node", with_base=False)
        node = Node(trust=read_trust(store.home.trust), bases=[base], accepted=store.accepted, now=moment())
        data = [file for file in expert.rglob("*") if file.is_file()]
        hashing_s, verifying_s = [], []
        for _ in range(REPEATS):
            started = time.perf_counter()
            for file in data:
                hashlib.sha256(file.read_bytes()).hexdigest()
            hashing_s.append(time.perf_counter() - started)
            started = time.perf_counter()
            verify(Fetched(root=expert, source=str(expert)), node)
            verifying_s.append(time.perf_counter() - started)
        print(
            json.dumps(
                {
                    "weights_bytes": weights_of(expert).stat().st_size,
                    "sha256_s": round(min(hashing_s), 4),
                    "verify_s": round(min(verifying_s), 4),
                    "ratio": round(min(verifying_s) / min(hashing_s), 2),
                },
                indent=2,
            )
        )
        store.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)

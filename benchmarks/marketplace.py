"""How long do search, refresh, resolve and a sync without news take on a node that follows an index of many experts?

Usage: python benchmarks/marketplace.py [EXPERTS]
Prints one JSON object of seconds. Targets for 1,000: search 0.05, sync without news 1 after the fetch, resolve 1.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from expert_system.domain import Digest
from expert_system.marketplace.acquire import Acquirer
from expert_system.marketplace.index_entry import IndexedBase, IndexedVersion, IndexEntry
from expert_system.marketplace.index_owner import IndexWorkTree
from expert_system.marketplace.indexes import follow, open_indexes
from expert_system.marketplace.resolve import Requirement, resolve
from expert_system.marketplace.sources import FollowedIndex, Wanted, read_sources, write_sources
from expert_system.marketplace.state import Record, State
from expert_system.marketplace.store import Store
from expert_system.package.keys import SecretKey
from expert_system.testing.market import git

REPEATS = 5
_ZEROS = "0" * 64


def main(count: int) -> None:
    """Build the index and the node, then measure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Store(folder / "node")
        index = follow(store.home, publish(folder / "index", count))
        stock(store, count)
        wanted = [Requirement(name=f"expert-number-{number}", range="*") for number in range(count)]
        acquirer = Acquirer(store, indexes=lambda: open_indexes(store.home))
        figures = {
            "experts": count,
            "search_s": median(lambda: index.search(["invoice", "number-7"])),
            "search_from_disk_s": median(lambda: open_indexes(store.home)[0].known().search(["invoice"])),
            "refresh_without_news_s": median(open_indexes(store.home)[0].refresh),
            "resolve_s": median(lambda: resolve(wanted, index, preferred={})),
            "sync_without_news_s": median(acquirer.update),
        }
        assert count == len(acquirer.update().kept)
        store.close()
    print(json.dumps(figures, indent=2))


def median(work: Callable[[], object]) -> float:
    """The middle of several runs, in seconds."""
    taken: list[float] = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return round(statistics.median(taken), 4)


def publish(folder: Path, count: int) -> FollowedIndex:
    """An index of made-up experts in a git repository."""
    folder.mkdir()
    tree = IndexWorkTree(folder, SecretKey.generate())
    root = tree.init()
    tree.put_entries([entry(number) for number in range(count)])
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "index")
    return FollowedIndex(name="main", location=str(folder), root_sha256=root)


def entry(number: int) -> IndexEntry:
    """One expert with two versions; four of five require a neighbour."""
    requires = (f"expert-number-{number - 1}@>=1.0.0",) if number % 5 else ()
    versions = tuple(
        IndexedVersion(
            version=version,
            tag=f"v{version}",
            commit="0" * 40,
            digest=digest(number, version),
            keyid=_ZEROS,
            requires=requires,
            base_models=(IndexedBase(name="tiny", base_digest=_ZEROS),),
        )
        for version in ("1.0.0", "2.0.0")
    )
    return IndexEntry(
        name=f"expert-number-{number}",
        publisher="example",
        repository=f"https://example.invalid/{number}.git",
        description=f"Reads invoice fields, variant {number}.",
        capabilities=("task:extraction",),
        versions=versions,
    )


def digest(number: int, version: str) -> str:
    """A made-up digest."""
    return f"{number:032x}{version.encode().hex():>032}"


def stock(store: Store, count: int) -> None:
    """Records of every newest version as installed and followed, without their files."""
    state = State(store.home.state)
    with state.transaction():
        for number in range(count):
            state.put(
                Record(
                    digest=Digest(digest(number, "2.0.0")),
                    name=f"expert-number-{number}",
                    version="2.0.0",
                    verified=True,
                    source=f"https://example.invalid/{number}.git",
                    keyid=_ZEROS,
                    installed_at="2026-01-01T00:00:00Z",
                )
            )
    state.close()
    followed = tuple(
        Wanted(name=f"expert-number-{number}", location=f"expert-number-{number}") for number in range(count)
    )
    sources = read_sources(store.home.sources)
    write_sources(store.home.sources, sources.model_copy(update={"experts": followed}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)

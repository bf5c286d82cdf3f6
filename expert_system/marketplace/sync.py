"""The daemon that keeps a node current: fetch, verify, install, tell the servers, wait, again.

    sources -> update (tolerant) -> store -> Load / Unload on each server -> one log line and metrics

Promise: a bad update never displaces a good version; being killed at any moment costs nothing but time; what cannot be
reached is asked again later, and less and less often.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram

from expert_system import telemetry
from expert_system.errors import ExpertSystemError
from expert_system.marketplace.acquire import Outcome
from expert_system.marketplace.preload import Server, Told, tell
from expert_system.marketplace.store import Store

DEFAULT_INTERVAL_S = 60.0
DEFAULT_BUDGET_BYTES = 2 * 1024**3
MAX_BACKOFF_S = 3600.0
JITTER = 0.2
"""Waits differ by up to this share, so that many nodes do not ask at the same moment."""

ROUNDS = Counter("expert_sync_rounds", "Rounds of the sync daemon by how they ended.", ["outcome"])
ROUND_SECONDS = Histogram(
    "expert_sync_round_seconds", "Time of one round.", buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800)
)
INSTALLED = Counter("expert_sync_installed", "Packages installed by the sync daemon.")
FAILED = Gauge("expert_sync_failed_experts", "Experts that the last round could not update.")
LAST_SUCCESS = Gauge("expert_sync_last_success_timestamp_seconds", "When the last round without any failure ended.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round did."""

    outcome: Outcome
    told: tuple[Told, ...]
    seconds: float

    @property
    def problems(self) -> list[str]:
        """Everything that did not work; the node goes on with what it has."""
        return [
            *(f"{name}: {error}" for name, error in self.outcome.failed),
            *(problem for told in self.told for problem in told.problems),
        ]


class Sync:
    """Runs rounds, one after the other."""

    def __init__(
        self,
        store: Store,
        refresh: Callable[[], Outcome],
        servers: Sequence[Server] = (),
        *,
        budget_bytes: int = DEFAULT_BUDGET_BYTES,
    ) -> None:
        """Join the parts.

        Args:
            store: the node's store.
            refresh: updates it: `Acquirer.update(tolerant=True)` or `Acquirer.install_locked`.
            servers: running servers to tell.
            budget_bytes: stored size of the weights that each may preload.
        """
        self._store = store
        self._refresh = refresh
        self._servers = tuple(servers)
        self._budget_bytes = budget_bytes
        self._retired: dict[str, set[str]] = {}
        self.last_good: float | None = None
        """When the last round without any failure ended, as time.monotonic()."""

    def round(self) -> Round:
        """Bring node and servers up to date once; failures are reported, not raised."""
        started = time.monotonic()
        try:
            outcome = self._refresh()
        except ExpertSystemError as error:
            outcome = Outcome(failed=(("sync", error),))
        told = tuple(self._tell(server) for server in self._servers)
        done = Round(outcome=outcome, told=told, seconds=time.monotonic() - started)
        if not done.problems:
            self.last_good = time.monotonic()
        _report(done)
        return done

    def _tell(self, server: Server) -> Told:
        retired = self._retired.setdefault(server.target, set())
        told = tell(server, self._store, budget_bytes=self._budget_bytes, retired=retired)
        retired.update(told.retired)
        retired.difference_update(told.loaded)
        return told

    def watch(
        self,
        stop: threading.Event,
        *,
        interval_s: float = DEFAULT_INTERVAL_S,
        after_round: Callable[[], None] = lambda: None,
    ) -> None:
        """Run rounds until told to stop; failures in a row double the wait."""
        jitter = random.Random()  # noqa: S311 - spreads load, keeps no secret
        failures = 0
        while not stop.is_set():
            failures = failures + 1 if self.round().problems else 0
            after_round()
            stop.wait(wait_s(interval_s, failures, jitter.uniform(-JITTER, JITTER)))


def wait_s(interval_s: float, failures: int, jitter: float) -> float:
    """How long to wait after so many failed rounds in a row."""
    backoff: float = min(interval_s * 2 ** min(failures, 30), max(MAX_BACKOFF_S, interval_s))
    return backoff * (1 + jitter)


def _report(done: Round) -> None:
    problems = done.problems
    ROUNDS.labels("failed" if problems else "ok").inc()
    ROUND_SECONDS.observe(done.seconds)
    INSTALLED.inc(len(done.outcome.installed))
    FAILED.set(len(done.outcome.failed))
    if not problems:
        LAST_SUCCESS.set_to_current_time()
    telemetry.event(
        "sync",
        installed=[f"{e.manifest.name}@{e.manifest.version}" for e in done.outcome.installed],
        unchanged=len(done.outcome.kept),
        loaded=[reference for told in done.told for reference in told.loaded],
        retired=[reference for told in done.told for reference in told.retired],
        waiting=[reference for told in done.told for reference in told.waiting],
        problems=problems,
        seconds=round(done.seconds, 3),
    )

"""`expert-cli` on the marketplace: the sync daemon."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from expert_system.cli.screen import Json, note, result

if TYPE_CHECKING:
    from expert_system.client import Client
    from expert_system.marketplace.preload import Held
    from expert_system.marketplace.sync import Round

STALE_ROUNDS = 5
"""After so many intervals without a good round the daemon says that it is not ready."""


def register(app: typer.Typer) -> None:
    """Add the commands to `expert-cli`."""
    app.command("sync")(sync)


def sync(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until stopped.")] = False,
    locked: Annotated[bool, typer.Option("--locked", help="Install exactly what the lock names.")] = False,
    interval: Annotated[float, typer.Option(min=1.0, help="Seconds between rounds of --watch.")] = 60.0,
    server: Annotated[
        list[str] | None, typer.Option("--server", help="HOST:PORT of a running server to preload; repeatable.")
    ] = None,
    budget: Annotated[int, typer.Option(min=0, help="MiB of weights that each server may preload.")] = 2048,
    health_port: Annotated[
        int | None, typer.Option(help="Serve /livez, /readyz and /metrics here; 0 takes a free port.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Bring every followed expert up to date, verified, and tell running servers to preload it."""
    import signal
    import sys
    import threading

    from expert_system import telemetry
    from expert_system.cli.store import acquirer, open_store
    from expert_system.client import Client
    from expert_system.marketplace.health import HealthPage, notify
    from expert_system.marketplace.sync import Sync

    telemetry.log_to(sys.stderr)
    with ExitStack() as stack:
        store = stack.enter_context(open_store())
        found = acquirer(store)
        servers = [_Remote(target, stack.enter_context(Client(target))) for target in server or ()]
        refresh = found.install_locked if locked else lambda: found.update(tolerant=True)
        daemon = Sync(store, refresh, servers, budget_bytes=budget * 1024 * 1024)
        if not watch:
            done = daemon.round()
            _show(done, as_json=as_json)
            if done.problems:
                raise typer.Exit(1)
            return

        def is_ready() -> bool:
            good = daemon.last_good
            return good is not None and time.monotonic() - good < STALE_ROUNDS * interval

        if health_port is not None:
            page = stack.enter_context(HealthPage(is_ready, port=health_port))
            note(f"health and metrics on http://127.0.0.1:{page.port}")
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        daemon.watch(stop, interval_s=interval, after_round=lambda: notify("READY=1\nWATCHDOG=1"))
        notify("STOPPING=1")


class _Remote:
    """A running server, as the marketplace sees it."""

    def __init__(self, target: str, client: Client) -> None:
        self._target = target
        self._client = client

    @property
    def target(self) -> str:
        """Where it listens."""
        return self._target

    def held(self) -> Sequence[Held]:
        """Its installed experts."""
        from expert_system.marketplace.preload import Held

        return [Held(digest=e.digest, loaded=e.loaded, loadable=e.loadable) for e in self._client.experts().experts]

    def load(self, reference: str) -> None:
        """Bring an expert into its memory."""
        self._client.load(reference)

    def unload(self, reference: str) -> None:
        """Free an expert."""
        self._client.unload(reference)


def _show(done: Round, *, as_json: bool) -> None:
    installed = [f"{e.manifest.name}@{e.manifest.version}" for e in done.outcome.installed]
    loaded = [reference for told in done.told for reference in told.loaded]
    if as_json:
        result(
            {
                "installed": installed,
                "unchanged": len(done.outcome.kept),
                "loaded": loaded,
                "problems": done.problems,
                "seconds": round(done.seconds, 3),
            }
        )
        return
    for reference in installed:
        typer.echo(f"installed {reference}")
    for reference in loaded:
        typer.echo(f"preloaded {reference}")
    for problem in done.problems:
        note(problem)
    note(f"{len(installed)} installed, {len(done.outcome.kept)} unchanged, in {done.seconds:.2f} s")

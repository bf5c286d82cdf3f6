"""`expert-cli` on the marketplace: search, the sync daemon, and indexes for those who follow or keep one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expert_system.cli.screen import Json, note, result, table

if TYPE_CHECKING:
    from expert_system.client import Client
    from expert_system.marketplace.index_owner import IndexWorkTree
    from expert_system.marketplace.preload import Held
    from expert_system.marketplace.sync import Round

STALE_ROUNDS = 5
"""After so many intervals without a good round the daemon says that it is not ready."""


index_app = typer.Typer(help="The indexes that this node follows, and the index that you keep.", no_args_is_help=True)
IndexFolder = Annotated[Path, typer.Option("--index", help="The index's work tree.")]
Key = Annotated[Path, typer.Option("--key", help="The index's key; signs root and targets.")]
OnlineKey = Annotated[
    Path | None, typer.Option("--online-key", help="Signs snapshot and timestamp; the index's key when left out.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to `expert-cli`."""
    app.command("search")(search)
    app.command("sync")(sync)
    for command in (add, list_indexes, remove, init, add_expert, refresh, rotate_key):
        index_app.command(command.__name__.removesuffix("_indexes").replace("_", "-"))(command)
    app.add_typer(index_app, name="marketplace")


def search(
    words: Annotated[
        list[str] | None, typer.Argument(help="All must occur in name, description or capabilities.")
    ] = None,
    *,
    capability: Annotated[str | None, typer.Option(help="Such as format:json.")] = None,
    as_json: Json = False,
) -> None:
    """Search the indexes that this node follows, as of their last refresh."""
    from expert_system.cli.store import open_store
    from expert_system.marketplace.indexes import open_indexes

    with open_store() as store:
        found = [
            {"index": index.name, **entry}
            for index in open_indexes(store.home)
            for entry in index.known().search(words or (), capability)
        ]
    if as_json:
        result(found)
        return
    if not found:
        note("nothing found; `expert-cli marketplace list` shows what is followed, `expert-cli update` refreshes it")
        return
    table(
        ["name", "version", "publisher", "description", "index"],
        [[e["name"], _newest(e), e["publisher"], e["description"], e["index"]] for e in found],
    )


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
    from expert_system.cli.installing import acquirer
    from expert_system.cli.store import open_store
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


def add(
    name: Annotated[str, typer.Argument(help="Your name for the index.")],
    location: Annotated[str, typer.Argument(help="Its git repository.")],
    *,
    root_sha256: Annotated[str, typer.Option(help="The sha256 of its root metadata, which its owner hands out.")],
) -> None:
    """Follow an index, once it has verified."""
    from pydantic import ValidationError

    from expert_system.cli.store import open_store
    from expert_system.errors import InvalidRequest
    from expert_system.marketplace.indexes import follow
    from expert_system.marketplace.sources import FollowedIndex

    try:
        followed = FollowedIndex(name=name, location=location, root_sha256=root_sha256)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise InvalidRequest(str(problem["loc"][0]), problem["msg"]) from None
    with open_store() as store:
        follow(store.home, followed)
    note(f"index {name} is followed; `expert-cli search` looks into it")


def list_indexes(*, as_json: Json = False) -> None:
    """List the indexes that this node follows."""
    from expert_system.cli.store import open_store
    from expert_system.marketplace.sources import read_sources

    with open_store() as store:
        rows = [index.model_dump(mode="json") for index in read_sources(store.home.sources).indexes]
    if as_json:
        result(rows)
        return
    table(["name", "location", "root"], [[row["name"], row["location"], row["root_sha256"][:12]] for row in rows])


def remove(name: Annotated[str, typer.Argument(help="The index.")]) -> None:
    """Follow an index no longer; what it brought stays installed."""
    from expert_system.cli.store import open_store
    from expert_system.marketplace.indexes import unfollow

    with open_store() as store:
        unfollow(store.home, name)


def init(*, index: IndexFolder = Path(), key: Key, online_key: OnlineKey = None) -> None:
    """Make an empty index in a work tree; prints the sha256 that nodes need to follow it."""
    typer.echo(_work_tree(index, key, online_key).init())
    note("next: commit and push it, then `expert-cli marketplace add-expert`; keep the key offline")


def add_expert(
    location: Annotated[str, typer.Argument(help="The expert's repository, as nodes reach it.")],
    *,
    index: IndexFolder = Path(),
    key: Key,
    online_key: OnlineKey = None,
    yank: Annotated[list[str] | None, typer.Option(help="Withdraw this version; repeatable.")] = None,
) -> None:
    """Verify every version of an expert and list it; run it again for new versions."""
    from expert_system.cli.store import open_store
    from expert_system.marketplace.market import Market
    from expert_system.marketplace.sources import Source
    from expert_system.marketplace.staging import Staging

    with open_store() as store, Staging(store.home) as staging:
        market = Market(store, staging, locations={}, allow_downgrade=True)
        entry = _work_tree(index, key, online_key).add_expert(market, Source(location=location), yanked=yank or ())
    typer.echo(f"{entry.name}: {', '.join(v.version + (' (yanked)' if v.yanked else '') for v in entry.versions)}")
    note("next: commit and push the index")


def refresh(*, index: IndexFolder = Path(), key: Key) -> None:
    """Sign the timestamp anew with the online key; run it unattended, well before it expires."""
    typer.echo(_work_tree(index, key, None).refresh())
    note("next: commit and push the index")


def rotate_key(
    *,
    index: IndexFolder = Path(),
    key: Key,
    online_key: OnlineKey = None,
    new_key: Annotated[Path, typer.Option("--new-key", help="The key that takes over.")],
) -> None:
    """Replace the index's key; the old one vouches for the new one."""
    from expert_system.cli.publish import secret_key

    _work_tree(index, key, online_key).rotate_key(secret_key(new_key))
    note("next: commit and push the index; nodes follow by themselves")


def _work_tree(folder: Path, key: Path, online_key: Path | None) -> IndexWorkTree:
    from expert_system.cli.publish import secret_key
    from expert_system.marketplace.index_owner import IndexWorkTree

    return IndexWorkTree(folder, secret_key(key), secret_key(online_key) if online_key else None)


def _newest(entry: dict[str, Any]) -> str:
    return str([version["version"] for version in entry["versions"] if not version["yanked"]][-1])


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
        from expert_system.client import RequestFailed
        from expert_system.errors import Overloaded

        try:
            self._client.load(reference)
        except RequestFailed as error:
            if error.code.name == "RESOURCE_EXHAUSTED":
                raise Overloaded(str(error), error.retry_after_s) from None
            raise

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

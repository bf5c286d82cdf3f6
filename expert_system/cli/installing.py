"""`expert-cli` changing this node's store: install, update, rollback, uninstall."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from expert_system.cli.screen import Json, note, result
from expert_system.cli.store import LockFile, Name, describe, open_store

if TYPE_CHECKING:
    from expert_system.marketplace.acquire import Acquirer, Outcome
    from expert_system.marketplace.store import Store

Mirrors = Annotated[
    list[str] | None,
    typer.Option("--mirror", help="FROM=TO: fetch sources that start with FROM from TO instead.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `expert-cli`."""
    app.command("install")(install)
    app.command("uninstall")(uninstall)
    app.command("update")(update)
    app.command("rollback")(rollback)


def install(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="NAME of an index, repository URL, local repository, folder or .expert file; @X.Y.Z, @RANGE or @COMMIT.",
            show_default=False,
        ),
    ] = None,
    *,
    dev: Annotated[bool, typer.Option("--dev", help="Store local folders unverified.")] = False,
    locked: Annotated[bool, typer.Option("--locked", help="Install exactly what the lock names.")] = False,
    lock: LockFile = None,
    mirror: Mirrors = None,
    allow_downgrade: Annotated[bool, typer.Option(help="Let an older version than ever accepted in.")] = False,
    as_json: Json = False,
) -> None:
    """Verify and install experts with everything they require; update them later with `update` or `sync`."""
    from expert_system.errors import InvalidRequest
    from expert_system.marketplace.acquire import Acquirer, Outcome
    from expert_system.marketplace.sources import Source

    if bool(sources) == locked:
        raise InvalidRequest("install", "give at least one SOURCE, or --locked and none")
    with open_store() as store:
        if dev:
            outcome = Outcome(installed=tuple(store.install_dev(Path(source)) for source in sources or ()))
        elif locked:
            outcome = Acquirer(store).install_locked(lock, mirrors=_pairs(mirror))
        else:
            asked = [Source.parse(source) for source in sources or ()]
            outcome = acquirer(store, lock).install(asked, allow_downgrade=allow_downgrade)
        _tell(outcome, store, as_json=as_json)


def update(
    names: Annotated[list[str] | None, typer.Argument(help="Only these experts.", show_default=False)] = None,
    *,
    lock: LockFile = None,
    as_json: Json = False,
) -> None:
    """Bring experts to their newest version that fits; naming one ends what `rollback` held."""
    with open_store() as store:
        _tell(acquirer(store, lock).update(names or ()), store, as_json=as_json)


def rollback(name: Name, *, lock: LockFile = None, as_json: Json = False) -> None:
    """Go back to the version before, or to NAME@VERSION, and stay there until `update NAME`."""
    from expert_system.domain import ExpertRef
    from expert_system.marketplace.acquire import Acquirer

    reference = ExpertRef.parse(name)
    with open_store() as store:
        expert = Acquirer(store, lock=lock).rollback(reference.name, reference.version)
        row = describe(expert, store.record(expert.digest), store.home.installed_bases())
    if as_json:
        result(row)
        return
    typer.echo(f"{row['name']} is at {row['version']} again, sha256:{row['digest'][:12]}")
    note(f"it stays there until `expert-cli update {row['name']}`")


def uninstall(name: Name, *, lock: LockFile = None, as_json: Json = False) -> None:
    """Remove an expert from this node's store: every version, or the one named."""
    from expert_system.domain import ExpertRef
    from expert_system.marketplace.acquire import Acquirer
    from expert_system.package.fields import split_range

    reference = ExpertRef.parse(name)
    with open_store() as store:
        gone = store.uninstall(reference.name, reference.version)
        for expert in store.experts():
            if any(split_range(text)[0] == reference.name for text in expert.manifest.composition.requires):
                note(f"{expert.manifest.name} requires {reference.name} and cannot run without it")
        if not any(record.verified for record in store.records_of(reference.name)):
            Acquirer(store, lock=lock).forget([reference.name])
    if as_json:
        result([{"name": r.name, "version": r.version, "digest": r.digest} for r in gone])
        return
    for record in gone:
        typer.echo(f"uninstalled {record.name}@{record.version} sha256:{record.digest[:12]}")


def acquirer(store: Store, lock: Path | None = None) -> Acquirer:
    """What installs into a store, with the indexes that the node follows."""
    from expert_system.marketplace.acquire import Acquirer
    from expert_system.marketplace.indexes import open_indexes

    return Acquirer(store, lock=lock, indexes=lambda: open_indexes(store.home))


def _tell(outcome: Outcome, store: Store, *, as_json: bool) -> None:
    """What an installation did; one failed expert makes the command fail, with that expert's exit code."""
    from expert_system.cli.exits import exit_code

    if outcome.installed:
        _embed(store)
    bases = store.home.installed_bases()
    installed = [describe(expert, store.record(expert.digest), bases) for expert in outcome.installed]
    kept = [{"name": record.name, "version": record.version, "digest": record.digest} for record in outcome.kept]
    if as_json:
        failed = [{"name": name, "problem": str(error)} for name, error in outcome.failed]
        result({"installed": installed, "kept": kept, "failed": failed})
    for row in installed:
        if not as_json:
            typer.echo(f"installed {row['name']}@{row['version']} sha256:{row['digest'][:12]}")
        if not row["verified"]:
            note(f"{row['name']} is unverified: only a server started with --dev loads it")
        if not row["loadable_on"]:
            note(f"no base on this node fits {row['name']}; it was trained for {', '.join(row['bases'])}")
    for row in kept if not as_json else ():
        typer.echo(f"{row['name']}@{row['version']} is installed and current")
    for name, error in outcome.failed:
        note(f"{name} stays as it is: {error}")
    if outcome.failed:
        raise typer.Exit(exit_code(outcome.failed[0][1]))


def _embed(store: Store) -> None:
    """Embed descriptors for the router; one that is damaged keeps nobody from installing."""
    from expert_system import config, telemetry
    from expert_system.app import embed_descriptors
    from expert_system.errors import ConfigError

    telemetry.log_nowhere()  # what was installed is told, no more
    try:
        embed_descriptors(config.read().config, store)
    except ConfigError as error:
        note(f"the router cannot read the new experts yet: {error}")


def _pairs(mirrors: list[str] | None) -> list[tuple[str, str]]:
    from expert_system.errors import InvalidRequest

    pairs = [tuple(text.split("=", 1)) for text in mirrors or ()]
    for pair in pairs:
        if len(pair) != 2:
            raise InvalidRequest("--mirror", f"{pair[0]!r} is not FROM=TO")
    return [(pair[0], pair[1]) for pair in pairs]

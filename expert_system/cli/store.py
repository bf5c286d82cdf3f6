"""`expert-cli` on this node's store: list, info, install, uninstall, update, rollback, verify, gc."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expert_system.cli import market, publish
from expert_system.cli.screen import Json, note, result, table

if TYPE_CHECKING:
    from expert_system.marketplace.acquire import Acquirer, Outcome
    from expert_system.marketplace.state import Record
    from expert_system.marketplace.store import Store
    from expert_system.package.base import BaseDescription
    from expert_system.package.evidence import Evaluation
    from expert_system.package.stored import StoredExpert

Name = Annotated[
    str, typer.Argument(help="The expert: NAME or NAME@VERSION; sql means expert-sql.", show_default=False)
]
LockFile = Annotated[Path | None, typer.Option("--lock", help="Another lock than $EXPERT_HOME/experts.lock.")]
Mirrors = Annotated[
    list[str] | None,
    typer.Option("--mirror", help="FROM=TO: fetch sources that start with FROM from TO instead.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Add these commands, and those of authors and of the marketplace, to `expert-cli`."""
    app.command("list")(list_experts)
    app.command("info")(info)
    app.command("install")(install)
    app.command("uninstall")(uninstall)
    app.command("update")(update)
    app.command("rollback")(rollback)
    app.command("verify")(verify)
    app.command("gc")(gc)
    publish.register(app)
    market.register(app)


def list_experts(*, as_json: Json = False) -> None:
    """List the experts in this node's store."""
    with open_store() as store:
        bases = store.home.installed_bases()
        rows = [describe(expert, store.record(expert.digest), bases) for expert in store.experts()]
    if as_json:
        result(rows)
        return
    if not rows:
        note("no experts are installed; try `expert-cli install SOURCE` or `expert-cli install --dev PATH`")
        return
    table(
        ["name", "version", "digest", "verified", "runs on", "source"],
        [
            [
                row["name"],
                row["version"],
                row["digest"][:12],
                "yes" if row["verified"] else "no (--dev)",
                ", ".join(row["loadable_on"]) or f"needs {', '.join(row['bases'])}",
                row["source"],
            ]
            for row in rows
        ],
    )


def info(name: Name, *, as_json: Json = False) -> None:
    """Show one installed expert: its manifest, where it came from, and which bases it runs on."""
    from expert_system.domain import ExpertRef

    reference = ExpertRef.parse(name)
    with open_store() as store:
        expert = store.find(reference.name, reference.version)
        row = describe(expert, store.record(expert.digest), store.home.installed_bases())
    row["manifest"] = expert.manifest.model_dump(mode="json")
    row["files"] = dict(expert.files)
    if as_json:
        result(row)
        return
    manifest = expert.manifest
    composition = manifest.composition
    lines = {
        "expert": f"{manifest.name}@{manifest.version} by {manifest.publisher}, {manifest.license}",
        "does": manifest.description,
        "digest": expert.digest,
        "verified": "yes" if expert.verified else "no, installed with --dev",
        "source": row["source"],
        "runs on": ", ".join(row["loadable_on"]) or f"nothing here; it needs {', '.join(row['bases'])}",
        "adapters": ", ".join(row["adapters"]),
        "loads as": f"{composition.category}, order {composition.load_order}, weight {composition.weight:g}",
        "capable of": ", ".join(manifest.capabilities) or "-",
        "gain": "; ".join(_gain(evaluation) for evaluation in manifest.quality_metrics) or "not measured",
    }
    for label, value in lines.items():
        typer.echo(f"{label:>10}  {value}")


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

    reference = ExpertRef.parse(name)
    with open_store() as store:
        gone = store.uninstall(reference.name, reference.version)
        if not any(record.verified for record in store.records_of(reference.name)):
            Acquirer(store, lock=lock).forget([reference.name])
    if as_json:
        result([{"name": r.name, "version": r.version, "digest": r.digest} for r in gone])
        return
    for record in gone:
        typer.echo(f"uninstalled {record.name}@{record.version} sha256:{record.digest[:12]}")


def verify(
    target: Annotated[
        str | None, typer.Argument(help="An installed expert, a folder or a .expert file; all when left out.")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Re-check every byte of installed experts, or take a package through every verification step.

    Exit code 4 and the number of the failed step when something is refused.
    """
    from expert_system.marketplace.upkeep import recheck
    from expert_system.package.archive import SUFFIX

    if target is not None and (target.endswith(SUFFIX) or "/" in target or Path(target).is_dir()):
        _verify_package(target, as_json=as_json)
        return
    with open_store() as store:
        findings = recheck(store, target)
    rows = [
        {
            "name": found.record.name,
            "version": found.record.version,
            "digest": found.record.digest,
            "verified": found.record.verified,
            "step": found.problem.step if found.problem else None,
            "problem": str(found.problem) if found.problem else None,
        }
        for found in findings
    ]
    if as_json:
        result(rows)
    else:
        table(["name", "version", "digest", "result"], [_verdict(row) for row in rows])
    if any(row["problem"] for row in rows):
        raise typer.Exit(4)


def gc(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    lock: LockFile = None,
    as_json: Json = False,
) -> None:
    """Remove what no lock, pin or running server uses."""
    from expert_system.marketplace.upkeep import collect

    with open_store() as store:
        done = collect(store, lock=lock, dry_run=dry_run)
    if as_json:
        result(
            {
                "removed": [{"name": r.name, "version": r.version, "digest": r.digest} for r in done.removed],
                "in_use": [{"name": r.name, "version": r.version, "digest": r.digest} for r in done.in_use],
                "folders": done.folders,
                "dry_run": dry_run,
            }
        )
        return
    for record in done.removed:
        typer.echo(f"{'would remove' if dry_run else 'removed'} {record.name}@{record.version}")
    for record in done.in_use:
        typer.echo(f"kept {record.name}@{record.version}, a running server uses it")
    note(f"{len(done.removed)} packages and {done.folders} leftover folders")


@contextmanager
def open_store() -> Iterator[Store]:
    """The store of the configured home, closed afterwards."""
    from expert_system import config
    from expert_system.marketplace.store import Store

    store = Store(config.read().config.home, dev=True)
    try:
        yield store
    finally:
        store.close()


def acquirer(store: Store, lock: Path | None = None) -> Acquirer:
    """What installs into a store, with the indexes that the node follows."""
    from expert_system.marketplace.acquire import Acquirer
    from expert_system.marketplace.indexes import open_indexes

    return Acquirer(store, lock=lock, indexes=lambda: open_indexes(store.home))


def describe(expert: StoredExpert, record: Record | None, bases: list[BaseDescription]) -> dict[str, Any]:
    """One installed expert as JSON."""
    manifest = expert.manifest
    fitting = {base.binding: base.name for base in bases}
    wanted = [binding.base_digest for binding in manifest.base_models]
    return {
        "name": manifest.name,
        "version": manifest.version,
        "digest": expert.digest,
        "publisher": manifest.publisher,
        "description": manifest.description,
        "verified": expert.verified,
        "yanked": record.yanked if record else False,
        "source": record.source if record else "",
        "tag": record.tag if record else None,
        "commit": record.commit_id if record else None,
        "keyid": record.keyid if record else None,
        "installed_at": record.installed_at if record else None,
        "path": str(expert.path),
        "bases": [binding.name for binding in manifest.base_models],
        "loadable_on": [name for digest, name in fitting.items() if digest in wanted],
        "adapters": [
            f"{adapter.type} for {binding.name}" for binding in manifest.base_models for adapter in binding.adapters
        ],
        "capabilities": list(manifest.capabilities),
    }


def _tell(outcome: Outcome, store: Store, *, as_json: bool) -> None:
    """What an installation did; one failed expert makes the command fail, with that expert's exit code."""
    from expert_system.cli.exits import exit_code

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


def _verify_package(target: str, *, as_json: bool) -> None:
    from expert_system.marketplace.market import Market
    from expert_system.marketplace.resolve import Candidate
    from expert_system.marketplace.staging import Staging
    from expert_system.marketplace.verify import Fetched

    with open_store() as store, Staging(store.home) as staging:
        found = Market(store, staging, locations={})
        if Path(target).is_dir():
            package = found.check(Fetched(root=Path(target).resolve(), source=target))
        else:
            package = found.package(Candidate(name="", version="", source=target))
    row = {
        "name": package.manifest.name,
        "version": package.manifest.version,
        "digest": package.digest,
        "keyid": package.keyid,
        "loadable_on": list(package.loadable_on),
    }
    if as_json:
        result(row)
        return
    typer.echo(f"{row['name']}@{row['version']} passed every step, sha256:{package.digest}, key {package.keyid[:12]}")
    if not package.loadable_on:
        wanted = ", ".join(base.name for base in package.manifest.base_models)
        note(f"no base on this node fits it; it was trained for {wanted}")


def _verdict(row: dict[str, Any]) -> list[str]:
    good = "ok" if row["verified"] else "ok, unverified (--dev)"
    return [row["name"], row["version"], row["digest"][:12], row["problem"] or good]


def _pairs(mirrors: list[str] | None) -> list[tuple[str, str]]:
    from expert_system.errors import InvalidRequest

    pairs = [tuple(text.split("=", 1)) for text in mirrors or ()]
    for pair in pairs:
        if len(pair) != 2:
            raise InvalidRequest("--mirror", f"{pair[0]!r} is not FROM=TO")
    return [(pair[0], pair[1]) for pair in pairs]


def _gain(evaluation: Evaluation) -> str:
    gain = evaluation.gain
    spread = f"{evaluation.primary} +{gain.value:.3g} [{gain.low:.3g}, {gain.high:.3g}]"
    return f"{spread} over {evaluation.base}, n={evaluation.held_out_examples}"

"""`expert-cli` on this node's store: list, info, verify, gc; and where the commands around it are registered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expert_system.cli.screen import Json, note, result, table

if TYPE_CHECKING:
    from expert_system.marketplace.state import Record
    from expert_system.marketplace.store import Store
    from expert_system.package.base import BaseDescription
    from expert_system.package.evidence import Evaluation
    from expert_system.package.stored import StoredExpert

Name = Annotated[
    str, typer.Argument(help="The expert: NAME or NAME@VERSION; sql means expert-sql.", show_default=False)
]
LockFile = Annotated[Path | None, typer.Option("--lock", help="Another lock than $EXPERT_HOME/experts.lock.")]


def register(app: typer.Typer) -> None:
    """Add these commands, and those that install, publish and follow, to `expert-cli`."""
    from expert_system.cli import installing, market, publish

    app.command("list")(list_experts)
    app.command("info")(info)
    installing.register(app)
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


def _gain(evaluation: Evaluation) -> str:
    gain = evaluation.gain
    spread = f"{evaluation.primary} +{gain.value:.3g} [{gain.low:.3g}, {gain.high:.3g}]"
    return f"{spread} over {evaluation.base}, n={evaluation.held_out_examples}"

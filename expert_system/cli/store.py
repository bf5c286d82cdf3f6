"""`expert-cli` on this node's store: list, info, install, uninstall.

Promise: with `--json` exactly one JSON value goes to stdout; a table goes there without it, and notes go to stderr.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from expert_system.marketplace.state import Record
    from expert_system.marketplace.store import Store
    from expert_system.package.base import BaseDescription
    from expert_system.package.stored import StoredExpert

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Name = Annotated[
    str, typer.Argument(help="The expert: NAME or NAME@VERSION; sql means expert-sql.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add the commands to `expert-cli`."""
    app.command("list")(list_experts)
    app.command("info")(info)
    app.command("install")(install)
    app.command("uninstall")(uninstall)


def list_experts(*, as_json: Json = False) -> None:
    """List the experts in this node's store."""
    with open_store() as store:
        bases = store.home.installed_bases()
        rows = [describe(expert, store.record(expert.digest), bases) for expert in store.experts()]
    if as_json:
        print(json.dumps(rows, indent=2))
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
        print(json.dumps(row, indent=2))
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
        print(f"{label:>10}  {value}")


def install(
    source: Annotated[str, typer.Argument(help="With --dev a local folder.", show_default=False)],
    *,
    dev: Annotated[bool, typer.Option("--dev", help="Store a local folder unverified.")] = False,
    as_json: Json = False,
) -> None:
    """Install an expert into this node's store."""
    from expert_system.errors import InvalidRequest

    if not dev:
        raise InvalidRequest("install", "only `install --dev PATH` exists so far")
    with open_store() as store:
        expert = store.install_dev(Path(source))
        row = describe(expert, store.record(expert.digest), store.home.installed_bases())
    if as_json:
        print(json.dumps(row, indent=2))
        return
    print(f"installed {row['name']}@{row['version']} sha256:{row['digest'][:12]}")
    if not expert.verified:
        note("it is unverified: only a server started with --dev loads it")
    if not row["loadable_on"]:
        note(f"no base on this node fits it; it was trained for {', '.join(row['bases'])}")


def uninstall(name: Name, *, as_json: Json = False) -> None:
    """Remove an expert from this node's store: every version, or the one named."""
    from expert_system.domain import ExpertRef

    reference = ExpertRef.parse(name)
    with open_store() as store:
        gone = store.uninstall(reference.name, reference.version)
    if as_json:
        print(json.dumps([{"name": r.name, "version": r.version, "digest": r.digest} for r in gone], indent=2))
        return
    for record in gone:
        print(f"uninstalled {record.name}@{record.version} sha256:{record.digest[:12]}")


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


def table(columns: list[str], rows: list[list[str]]) -> None:
    """Print a table; plain when stdout is not a terminal, so that other programs can read it."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        for row in rows:
            print("\t".join(row))
        return
    drawn = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        drawn.add_row(*row)
    console.print(drawn)


def note(text: str) -> None:
    """Tell a person something that is not the result."""
    typer.echo(text, err=True)


def _gain(evaluation: Any) -> str:
    gain = evaluation.gain
    return f"{evaluation.primary} +{gain.value:.3g} [{gain.low:.3g}, {gain.high:.3g}] over {evaluation.base}, n={evaluation.held_out_examples}"

"""`expert-cli experts`: what a running server holds: list, load, unload, pin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expert_system.cli.screen import Json, note, result, table

if TYPE_CHECKING:
    from expert_system.client import Client, ExpertInfo

app = typer.Typer(help="What a running server holds.", no_args_is_help=True, rich_markup_mode=None)

Server = Annotated[
    str | None,
    typer.Option(
        "--server", metavar="HOST:PORT", help="The server to ask; without it the default address.", show_default=False
    ),
]
Name = Annotated[str, typer.Argument(help="NAME[@VERSION][=WEIGHT]; sql means expert-sql.", show_default=False)]


@app.command("list")
def list_experts(
    *,
    loaded: Annotated[bool, typer.Option("--loaded", help="Only what the engine holds.")] = False,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """List the server's experts and where the engine holds them."""
    with _client(server) as client:
        found = client.experts(loaded_only=loaded)
    if as_json:
        result(
            {
                "base": found.base,
                "base_digest": found.base_digest,
                "slots": found.slots,
                "slots_used": found.slots_used,
                "dtype": found.dtype,
                "experts": [expert_json(expert) for expert in found.experts],
            }
        )
        return
    note(f"{found.base} in {found.dtype}: {found.slots_used} of {found.slots} slots in use")
    table(
        ["name", "version", "digest", "where", "pinned", "memory", "verified"],
        [
            [
                expert.name,
                expert.version,
                expert.digest[:12],
                _where(expert),
                "yes" if expert.pinned else "no",
                f"{expert.size_bytes / 1e6:.1f} MB" if expert.loaded else "-",
                "yes" if expert.verified else "no (--dev)",
            ]
            for expert in found.experts
        ],
    )


@app.command()
def load(name: Name, *, server: Server = None, as_json: Json = False) -> None:
    """Bring an expert into memory and, when one is idle, into a slot."""
    with _client(server) as client:
        done = client.load(name)
    told = f"read in {done.load_s * 1000:.0f} ms, attached in {done.attach_s * 1000:.0f} ms"
    _tell(done.expert, told, as_json=as_json, more={"load_s": done.load_s, "attach_s": done.attach_s})


@app.command()
def unload(name: Name, *, server: Server = None, as_json: Json = False) -> None:
    """Free an expert's slot and memory; refused while a request uses it."""
    with _client(server) as client:
        expert = client.unload(name)
    _tell(expert, "unloaded", as_json=as_json)


@app.command()
def pin(
    name: Name,
    *,
    off: Annotated[bool, typer.Option("--off", help="Take the pin away.")] = False,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Keep an expert in memory until unpinned."""
    with _client(server) as client:
        expert = client.pin(name, pinned=not off)
    _tell(expert, "unpinned" if off else "pinned", as_json=as_json)


def expert_json(expert: ExpertInfo) -> dict[str, Any]:
    """An expert as `--json` prints it."""
    return {name: getattr(expert, name) for name in expert.__slots__}


@contextmanager
def _client(server: str | None) -> Iterator[Client]:
    from expert_system.cli.connect import default_target
    from expert_system.client import Client

    with Client(server or default_target()) as client:
        yield client


def _tell(expert: ExpertInfo, what: str, *, as_json: bool, more: dict[str, Any] | None = None) -> None:
    if as_json:
        result(expert_json(expert) | (more or {}))
    else:
        typer.echo(f"{expert.name}@{expert.version}: {what}")


def _where(expert: ExpertInfo) -> str:
    if not expert.loadable:
        return "cannot run here"
    if not expert.loaded:
        return "on disk"
    return "slot" if expert.in_slot else "memory"

"""A server for a command: the one that was named, the one that answers, or one of its own.

    --server, else the default address if it answers, else an engine inside this process -> AsyncClient

Promise: what was started here is stopped when the block is left, and a person is told that it was started.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from expert_system.cli.screen import note

if TYPE_CHECKING:
    from expert_system.client import AsyncClient

PROBE_S = 0.5
"""How long the default address may take to answer before we start an engine."""

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="HOST:PORT",
        help="The server to ask; without it the default address, else an engine of this command's own.",
        show_default=False,
    ),
]
Base = Annotated[
    str | None,
    typer.Option("--base", metavar="PATH|NAME", help="Base of an own engine.", show_default=False),
]
Dev = Annotated[bool, typer.Option("--dev", help="An own engine also runs experts that nobody verified.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a command wants to be served."""

    server: str | None
    base: str | None = None
    dev: bool = False


@asynccontextmanager
async def connected(place: Place) -> AsyncIterator[AsyncClient]:
    """A client of a server that takes requests.

    Raises:
        ConfigError, EngineError: no server answers and an own engine cannot start.
    """
    from expert_system.client import AsyncClient

    if place.server is not None:
        async with AsyncClient(place.server) as client:
            yield client
        return
    default = default_target()
    async with AsyncClient(default) as client:
        if await client.ready(PROBE_S):
            if place.base is not None or place.dev:
                note(f"the server at {default} answers; --base and --dev are its own settings")
            yield client
            return
    note(f"no server answers at {default}; starting an engine for this command alone (`expert-cli serve` keeps one)")
    async with _own_server(place) as target, AsyncClient(target) as client:
        yield client


def default_target() -> str:
    """Where this node's settings put its server."""
    from expert_system import config

    return config.read().config.server.target()


@asynccontextmanager
async def _own_server(place: Place) -> AsyncIterator[str]:
    """A server on a free port for the length of the block; its log goes to a file."""
    from expert_system import config, telemetry
    from expert_system.app import LOG_FOLDER, App, running

    flags = {"server.host": "127.0.0.1", "server.port": 0, "engine.base": place.base, "dev": place.dev or None}
    settings = config.read(flags=flags).config
    with _appended(settings.home / LOG_FOLDER / "server.log") as log:
        telemetry.log_to(log)
        async with running(App(settings), grace_s=0) as server:
            yield server.target


def _appended(file: Path) -> TextIO:
    file.parent.mkdir(parents=True, exist_ok=True)
    return file.open("a", encoding="utf-8")

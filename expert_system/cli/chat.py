"""`expert-cli chat`: a conversation with the base and chosen experts.

line -> messages so far + line -> streamed answer -> messages so far
"""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any

import typer

from expert_system.cli.connect import Base, Dev, Place, Server, connected
from expert_system.cli.generate import Experts, MaxTokens, NoRoute, Temperature, stream
from expert_system.cli.screen import note
from expert_system.errors import ExpertSystemError

HELP = "Type a message; /experts NAME … changes the experts, /reset forgets the conversation, /quit or Ctrl-D leaves."


def chat(
    *,
    expert: Experts = None,
    no_route: NoRoute = False,
    system: Annotated[str | None, typer.Option("--system", help="A system message.", show_default=False)] = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    seed: Annotated[int | None, typer.Option("--seed", show_default=False)] = None,
    server: Server = None,
    base: Base = None,
    dev: Dev = False,
) -> None:
    """Talk with the base and chosen experts; reads lines from stdin."""
    options = {
        "max_tokens": max_tokens,
        "temperature": temperature,
        "seed": seed,
        "route": False if no_route else None,
    }
    place = Place(server=server, base=base, dev=dev)
    asyncio.run(_converse(place, expert or [], system, options))


async def _converse(place: Place, experts: list[str], system: str | None, options: dict[str, Any]) -> None:
    start = [("system", system)] if system is not None else []
    messages: list[tuple[str, str]] = list(start)
    async with connected(place) as client:
        if sys.stdin.isatty():
            note(HELP)
        while (said := await asyncio.to_thread(_line)) is not None:
            match said.split():
                case []:
                    continue
                case ["/quit"]:
                    return
                case ["/reset"]:
                    messages = list(start)
                case ["/experts", *names]:
                    experts = names
                case [word, *_] if word.startswith("/"):
                    note(HELP)
                case _:
                    try:
                        turn = [*messages, ("user", said)]
                        answer = await stream(client, {"messages": turn, "experts": experts, **options})
                        messages = [*turn, ("assistant", answer)] if answer else messages
                    except ExpertSystemError as error:
                        note(f"error: {error}")


def _line() -> str | None:
    """One line of stdin without its end; None at the end of input."""
    if sys.stdin.isatty():
        try:
            return input("> ")
        except EOFError:
            return None
    found = sys.stdin.readline()
    return found.rstrip("\n") if found else None

"""`expert-cli generate`: one answer, or one for each line of a file.

PROMPT -> messages or raw prompt -> server -> streamed text, or one JSON object
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expert_system.cli import batch
from expert_system.cli.connect import Base, Dev, Place, Server, connected
from expert_system.cli.screen import Json, note, result
from expert_system.domain import Delta, Done, Grammar, GrammarType, Plan, PlannedExpert
from expert_system.errors import InvalidRequest
from expert_system.extraction import extractive

if TYPE_CHECKING:
    from expert_system.client import Answer, AsyncClient

Experts = Annotated[
    list[str] | None,
    typer.Option(
        "--expert", "-e", metavar="NAME[@VERSION][=WEIGHT]", help="An expert; repeat for more.", show_default=False
    ),
]
Temperature = Annotated[float | None, typer.Option("--temperature", help="0 to 2; 0 is greedy.", show_default=False)]
NoRoute = Annotated[
    bool, typer.Option("--no-route", help="With no expert named, ask the base alone instead of the router.")
]
MaxTokens = Annotated[int | None, typer.Option("--max-tokens", help="Most tokens to produce.", show_default=False)]


def generate(
    prompt: Annotated[str | None, typer.Argument(help="The prompt; - reads it from stdin.", show_default=False)] = None,
    *,
    expert: Experts = None,
    no_route: NoRoute = False,
    raw: Annotated[bool, typer.Option("--raw", help="Send the prompt untouched, without the chat template.")] = False,
    system: Annotated[str | None, typer.Option("--system", help="A system message.", show_default=False)] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="JSON lines {prompt, experts?}; - is stdin. One result line each, in order."),
    ] = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    top_p: Annotated[float | None, typer.Option("--top-p", show_default=False)] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", show_default=False)] = None,
    min_p: Annotated[float | None, typer.Option("--min-p", show_default=False)] = None,
    repetition_penalty: Annotated[float | None, typer.Option("--repetition-penalty", show_default=False)] = None,
    presence_penalty: Annotated[float | None, typer.Option("--presence-penalty", show_default=False)] = None,
    frequency_penalty: Annotated[float | None, typer.Option("--frequency-penalty", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option("--seed", show_default=False)] = None,
    stop: Annotated[list[str] | None, typer.Option("--stop", help="End there; repeatable.", show_default=False)] = None,
    ignore_eos: Annotated[bool, typer.Option("--ignore-eos", help="Go on to --max-tokens.")] = False,
    json_schema: Annotated[
        Path | None, typer.Option("--json-schema", help="The answer follows this JSON Schema.", show_default=False)
    ] = None,
    quote: Annotated[
        bool,
        typer.Option("--quote", help="With --json-schema: strings and numbers of the answer stand in the prompt."),
    ] = False,
    regex: Annotated[str | None, typer.Option("--regex", help="The answer matches this.", show_default=False)] = None,
    priority: Annotated[int, typer.Option("--priority", help="0 is most urgent, 9 least.")] = 5,
    timeout: Annotated[
        float | None, typer.Option("--timeout", help="Deadline of each answer in seconds.", show_default=False)
    ] = None,
    server: Server = None,
    base: Base = None,
    dev: Dev = False,
    as_json: Json = False,
) -> None:
    """Answer a prompt, streaming; it is one user message under the base's chat template unless --raw."""
    if quote and json_schema is None:
        raise typer.BadParameter("--quote needs --json-schema")
    held_to = _grammar(json_schema, regex)

    def made(text: str) -> dict[str, Any]:
        grammar = extractive(held_to.source, text) if quote and held_to is not None else held_to
        return asked(text, raw=raw, system=system) | {"grammar": grammar}

    options: dict[str, Any] = {
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "presence_penalty": presence_penalty,
        "frequency_penalty": frequency_penalty,
        "seed": seed,
        "stop": stop or None,
        "ignore_eos": ignore_eos or None,
        "priority": priority,
        "timeout_s": timeout,
        "route": False if no_route else None,
    }
    place = Place(server=server, base=base, dev=dev)
    if file is not None:
        if prompt is not None:
            raise typer.BadParameter("give a prompt or --file, not both")
        tasks = batch.read(file, experts=expert or [], asked=made)
        failures = asyncio.run(_batch(place, tasks, options))
        if failures:
            note(f"{failures} of {len(tasks)} lines failed")
            raise typer.Exit(1)
        return
    if prompt is None:
        raise typer.BadParameter("give a prompt, or --file", param_hint="PROMPT")
    text = sys.stdin.read() if prompt == "-" else prompt
    options |= made(text) | {"experts": expert or []}
    asyncio.run(_one(place, options, as_json=as_json))


def asked(text: str, *, raw: bool, system: str | None) -> dict[str, Any]:
    """A prompt as the client's arguments: untouched, or one user message."""
    if raw:
        if system is not None:
            raise typer.BadParameter("--raw sends no messages, so there is no place for --system")
        return {"prompt": text}
    before = [("system", system)] if system is not None else []
    return {"messages": [*before, ("user", text)]}


def answer_json(answer: Answer) -> dict[str, Any]:
    """An answer as `--json` prints it."""
    usage, timings = answer.done.usage, answer.done.timings
    return {
        "text": answer.text,
        "experts": [expert_json(expert) for expert in answer.plan.experts],
        "finish_reason": answer.done.finish_reason.value,
        "usage": {name: getattr(usage, name) for name in usage.__slots__},
        "timings": {name: round(getattr(timings, name), 6) for name in timings.__slots__},
    }


def expert_json(expert: PlannedExpert) -> Mapping[str, Any]:
    """An expert of an answer as `--json` prints it."""
    return {"name": expert.name, "version": expert.version, "weight": expert.weight, "digest": expert.digest}


async def stream(client: AsyncClient, options: Mapping[str, Any]) -> str:
    """Print an answer as it comes; who answered and how fast goes to a person's stderr."""
    plan: Plan | None = None
    text = ""
    async for event in client.generate(**options):
        match event:
            case Plan():
                plan = event
            case Delta():
                text += event.text
                typer.echo(event.text, nl=False)
                sys.stdout.flush()
            case Done():
                typer.echo("" if text.endswith("\n") else "\n", nl=False)
                if sys.stderr.isatty() and plan is not None:
                    note(summary(plan, event))
    return text


def summary(plan: Plan, done: Done) -> str:
    """One line on who answered, and how fast."""
    who = " + ".join([plan.base, *(f"{e.name}@{e.version}={e.weight:g}" for e in plan.experts)])
    usage, timings = done.usage, done.timings
    pace = usage.completion_tokens / timings.decode_s if timings.decode_s > 0 else 0.0
    return (
        f"[{who} · {usage.prompt_tokens} + {usage.completion_tokens} tokens · {timings.total_s:.2f} s · "
        f"{pace:.0f} tokens/s · {done.finish_reason}]"
    )


async def _one(place: Place, options: Mapping[str, Any], *, as_json: bool) -> None:
    async with connected(place) as client:
        if as_json:
            result(answer_json(await client.complete(**options)))
        else:
            await stream(client, options)


async def _batch(place: Place, tasks: list[batch.Task], options: Mapping[str, Any]) -> int:
    async with connected(place) as client:
        return await batch.run(client, tasks, options, answer_json)


def _grammar(json_schema: Path | None, regex: str | None) -> Grammar | None:
    if json_schema is not None and regex is not None:
        raise typer.BadParameter("give --json-schema or --regex, not both")
    if regex is not None:
        return Grammar(type=GrammarType.REGEX, source=regex)
    if json_schema is None:
        return None
    try:
        return Grammar(type=GrammarType.JSON_SCHEMA, source=json_schema.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest("--json-schema", f"{json_schema} cannot be read: {error}") from None

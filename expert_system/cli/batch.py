"""`expert-cli generate --file`: many prompts at once, one result line each, in the file's order.

    prompts.jsonl -> tasks -> at most CONCURRENT in flight -> results.jsonl on stdout

Promise: a line that fails becomes {"error": …} in its place and stops no other; a busy server is waited for.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expert_system.cli.screen import line
from expert_system.domain import ExpertRef
from expert_system.errors import ExpertSystemError, InvalidRequest

if TYPE_CHECKING:
    from expert_system.client import Answer, AsyncClient

CONCURRENT = 64
MAX_TRIES = 20
"""How often a line is sent to a server that says it is full."""

Asked = Callable[[str], dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One line of the file."""

    options: Mapping[str, Any]


def read(file: Path, *, experts: Sequence[str], asked: Asked) -> list[Task]:
    """Read the whole file before anything runs.

    Args:
        file: JSON lines; `-` is stdin.
        experts: for lines that name none.
        asked: makes the client's arguments from a prompt.

    Raises:
        InvalidRequest: a line is not {prompt, experts?}; the message names it.
    """
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest("--file", f"{file} cannot be read: {error}") from None
    lines = enumerate(text.split("\n"), start=1)
    return [_task(f"--file line {number}", content, experts, asked) for number, content in lines if content.strip()]


def _task(where: str, content: str, experts: Sequence[str], asked: Asked) -> Task:
    try:
        row = json.loads(content)
    except ValueError as error:
        raise InvalidRequest(where, f"is not JSON: {error}") from None
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
        raise InvalidRequest(where, 'must be an object with a "prompt"')
    unknown = row.keys() - {"prompt", "experts"}
    named = row.get("experts", list(experts))
    if unknown:
        raise InvalidRequest(where, f"has unknown keys: {', '.join(sorted(unknown))}")
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise InvalidRequest(where, '"experts" must be a list of NAME[@VERSION][=WEIGHT]')
    try:
        references = [ExpertRef.parse(name) for name in named]
    except InvalidRequest as error:
        raise InvalidRequest(where, str(error)) from None
    return Task(options=asked(row["prompt"]) | {"experts": references})


async def run(
    client: AsyncClient,
    tasks: Sequence[Task],
    options: Mapping[str, Any],
    as_json: Callable[[Answer], Mapping[str, Any]],
) -> int:
    """Run all tasks and print each result as soon as those before it are printed.

    Returns:
        How many failed.
    """
    room = asyncio.Semaphore(CONCURRENT)
    failures = 0

    async def one(task: Task) -> Mapping[str, Any]:
        async with room:
            return await _answered(client, {**options, **task.options}, as_json)

    async with asyncio.TaskGroup() as group:
        running = [group.create_task(one(task)) for task in tasks]
        for task in running:
            found = await task
            failures += "error" in found
            line(found)
    return failures


async def _answered(
    client: AsyncClient, options: Mapping[str, Any], as_json: Callable[[Answer], Mapping[str, Any]]
) -> Mapping[str, Any]:
    """One answer or the error in its place; waits as long as a full server asks for."""
    for attempt in range(1, MAX_TRIES + 1):
        try:
            return as_json(await client.complete(**options))
        except ExpertSystemError as error:
            wait_s = getattr(error, "retry_after_s", None)
            if wait_s is None or attempt == MAX_TRIES:
                code = getattr(error, "code", None)
                return {"error": {"code": code.name if code is not None else "FAILED", "message": str(error)}}
            await asyncio.sleep(wait_s)
    raise AssertionError("the last attempt returns")

"""The demonstration: a real server, the same prompts to the base alone and to the base with an expert, side by side.

    child `expert-cli serve` -> gRPC -> two streams for each prompt -> answers, validity, timings -> SIGTERM

Run it with `python -m expert_system.cli.demo`; it exits 0 only if every answer of the expert is JSON of its schema.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from expert_system.cli.screen import note
from expert_system.domain import Delta, Done
from expert_system.errors import EngineError, ExpertSystemError

if TYPE_CHECKING:
    from expert_system.client import AsyncClient

SERVE = [sys.executable, "-m", "expert_system.cli", "serve", "--port", "0", "--dev", "--json"]
EXPERT = "expert-json-parser"
START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 30.0
MAX_TOKENS = 160
LOG = "demo-server.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One text and the schema its data should have."""

    text: str
    schema: dict[str, Any]

    @property
    def prompt(self) -> str:
        """The contract of expert-json-parser: one user message."""
        schema = json.dumps(self.schema)
        return f"Extract the data as JSON matching this schema.\nSchema: {schema}\nText: {self.text}"


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


_STRING, _NUMBER, _INTEGER = {"type": "string"}, {"type": "number"}, {"type": "integer"}
CASES = (
    Case(
        text="Invoice INV-2041 from Baker & Sons, dated 2026-03-14, comes to 249.90 EUR.",
        schema=_object(invoice_number=_STRING, vendor=_STRING, date=_STRING, total=_NUMBER, currency=_STRING),
    ),
    Case(
        text="Please book a table for four on 2 May 2026 at 19:30 under the name Okafor.",
        schema=_object(name=_STRING, guests=_INTEGER, time=_STRING),
    ),
    Case(
        text="Reach Maria Lindqvist, sales manager, at maria.lindqvist@example.com or +46 8 555 0142.",
        schema=_object(name=_STRING, email=_STRING, phone=_STRING),
    ),
)


@dataclass(slots=True)
class Column:
    """One answer as it grows."""

    title: str
    experts: Sequence[str]
    text: str = ""
    done: Done | None = field(default=None)

    def verdict(self, schema: dict[str, Any]) -> str:
        """What the answer is: not JSON, JSON of another shape, or JSON of the schema."""
        from jsonschema import Draft202012Validator

        try:
            value = json.loads(self.text)
        except ValueError:
            return "not valid JSON"
        return "valid JSON" if Draft202012Validator(schema).is_valid(value) else "JSON, but not of this schema"


def main() -> None:
    """Run the demonstration and exit with its code."""
    try:
        good = asyncio.run(_demo(Console(soft_wrap=not sys.stdout.isatty())))
    except ExpertSystemError as error:
        note(f"demo: {error}")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    raise SystemExit(0 if good else 1)


async def _demo(console: Console) -> bool:
    from expert_system.client import AsyncClient

    good = True
    async with _server(console) as target, AsyncClient(target) as client:
        for number, case in enumerate(CASES, start=1):
            columns = await _ask(console, client, case, number)
            good &= columns[-1].verdict(case.schema) == "valid JSON"
    console.print(
        f"Every answer of {EXPERT} is valid JSON of its schema."
        if good
        else f"{EXPERT} gave an answer that is not JSON of its schema."
    )
    return good


async def _ask(console: Console, client: AsyncClient, case: Case, number: int) -> list[Column]:
    """Stream one prompt to both at once and show the answers beside each other."""
    columns = [Column("base alone", ()), Column(f"base + {EXPERT}", (EXPERT,))]
    console.print(Text(f"\n{number}. {case.text}", style="bold"))
    console.print(Text(f"   fields: {', '.join(case.schema['properties'])}", style="dim"))
    running = asyncio.gather(*(_stream(client, case, column) for column in columns))
    if console.is_terminal:
        with Live(_answers(columns, case, finished=False), console=console, refresh_per_second=12) as live:
            while not running.done():
                await asyncio.wait([running], timeout=0.08)
                live.update(_answers(columns, case, finished=False))
            await running
            live.update(_answers(columns, case, finished=True))
        console.print(_timings(columns))
    else:
        await running
        for column in columns:
            console.print(f"[{column.title}] {column.verdict(case.schema)}", markup=False, highlight=False)
            console.print(column.text.strip(), markup=False, highlight=False)
            console.print(_timing_line(column), markup=False, highlight=False)
    return columns


async def _stream(client: AsyncClient, case: Case, column: Column) -> None:
    asked = client.generate(
        messages=[("user", case.prompt)],
        experts=column.experts,
        route=False,  # one column is the base alone
        temperature=0.0,
        max_tokens=MAX_TOKENS,
    )
    async for event in asked:
        match event:
            case Delta():
                column.text += event.text
            case Done():
                column.done = event


def _answers(columns: Sequence[Column], case: Case, *, finished: bool) -> Table:
    drawn = Table(*(column.title for column in columns), expand=True, show_lines=True)
    drawn.add_row(*(Text(column.text.strip()) for column in columns))
    if finished:
        styles = {"valid JSON": "green"}
        verdicts = [column.verdict(case.schema) for column in columns]
        drawn.add_row(*(Text(verdict, style=styles.get(verdict, "red")) for verdict in verdicts))
    return drawn


def _stages(done: Done) -> dict[str, float]:
    timings = done.timings
    return {
        "route": timings.route_s,
        "attach": timings.attach_s,
        "queue": timings.queue_s,
        "prefill": timings.prefill_s,
        "decode": timings.decode_s,
        "total": timings.total_s,
    }


def _timings(columns: Sequence[Column]) -> Table:
    drawn = Table("ms", box=None, pad_edge=False, style="dim")
    finished = [(column.title, column.done) for column in columns if column.done is not None]
    for stage in _stages(finished[0][1]):
        drawn.add_column(stage, justify="right")
    drawn.add_column("tokens", justify="right")
    for title, done in finished:
        figures = [f"{seconds * 1000:.1f}" for seconds in _stages(done).values()]
        drawn.add_row(title, *figures, str(done.usage.completion_tokens))
    return drawn


def _timing_line(column: Column) -> str:
    if column.done is None:
        return "  (no end)"
    figures = ", ".join(f"{stage} {seconds * 1000:.1f} ms" for stage, seconds in _stages(column.done).items())
    return f"  {figures}, {column.done.usage.completion_tokens} tokens"


@asynccontextmanager
async def _server(console: Console) -> AsyncIterator[str]:
    """A child server on a free port; stopped with SIGTERM, and its exit checked."""
    from expert_system import config

    log = config.read().config.home / "logs" / LOG
    console.print(f"starting the server (its log: {log})", highlight=False)
    process = await _spawn(log)
    try:
        ready = await _ready_line(process, log)
        told = f"ready on {ready['target']}: {ready['base']}, {ready['slots']} slots"
        console.print(told, highlight=False)
        yield str(ready["target"])
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            code = await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            code = await process.wait()
        console.print(f"the server has stopped (exit code {code})", highlight=False)


async def _spawn(log: Path) -> asyncio.subprocess.Process:
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        return await asyncio.create_subprocess_exec(
            *SERVE, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=descriptor
        )
    finally:
        os.close(descriptor)


async def _ready_line(process: asyncio.subprocess.Process, log: Path) -> dict[str, Any]:
    """The one JSON line that `serve --json` prints when it takes requests."""
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            async for content in process.stdout:
                with contextlib.suppress(ValueError):
                    found = json.loads(content)
                    if isinstance(found, dict) and found.get("ready"):
                        return found
    except TimeoutError:
        raise EngineError(f"the server was not ready after {START_TIMEOUT_S:g} s; see {log}") from None
    raise EngineError(f"the server did not start: {_last_line(log) or f'see {log}'}")


def _last_line(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]


if __name__ == "__main__":
    main()

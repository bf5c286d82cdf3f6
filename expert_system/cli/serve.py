"""`expert-cli serve`: the gRPC server in the foreground, one ready line, drained on SIGTERM."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expert_system.cli.screen import line, note

if TYPE_CHECKING:
    from expert_system.app import Running


def serve(
    *,
    base: Annotated[
        str | None,
        typer.Option(
            "--base", metavar="PATH|NAME", help="The base model: a folder, a name, a hub id.", show_default=False
        ),
    ] = None,
    host: Annotated[str | None, typer.Option("--host", show_default=False)] = None,
    port: Annotated[int | None, typer.Option("--port", help="0 takes a free one.", show_default=False)] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option("--metrics-port", help="Answer /metrics there; 0 takes a free one.", show_default=False),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype",
            help="auto, bfloat16, float16 or float32; auto is the base's own, but float32 where a CPU emulates BF16.",
            show_default=False,
        ),
    ] = None,
    max_loras: Annotated[
        int | None, typer.Option("--max-loras", help="Slots: expert sets in one batch.", show_default=False)
    ] = None,
    max_lora_rank: Annotated[
        int | None, typer.Option("--max-lora-rank", help="Ranks that one set may need.", show_default=False)
    ] = None,
    max_model_len: Annotated[
        int | None, typer.Option("--max-model-len", help="Tokens of context.", show_default=False)
    ] = None,
    max_requests: Annotated[
        int | None, typer.Option("--max-requests", help="Requests in flight at once.", show_default=False)
    ] = None,
    grace: Annotated[
        float | None, typer.Option("--grace", help="Seconds to finish after SIGTERM.", show_default=False)
    ] = None,
    dev: Annotated[bool, typer.Option("--dev", help="Also serve experts that nobody verified.")] = False,
    config: Annotated[
        Path | None, typer.Option("--config", help="Settings instead of $EXPERT_HOME/config.toml.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ready line as JSON.")] = False,
) -> None:
    """Serve over gRPC until SIGTERM or Ctrl-C; `expert-cli config show` lists every setting."""
    from expert_system import app, telemetry
    from expert_system import config as settings

    flags: dict[str, Any] = {
        "engine.base": base,
        "engine.dtype": dtype,
        "engine.max_loras": max_loras,
        "engine.max_lora_rank": max_lora_rank,
        "engine.max_model_len": max_model_len,
        "server.host": host,
        "server.port": port,
        "server.metrics_port": metrics_port,
        "server.max_requests": max_requests,
        "server.grace_s": grace,
        "dev": dev or None,
    }
    found = settings.read(config, flags).config
    telemetry.log_to(sys.stderr)
    if sys.stderr.isatty():
        note(f"starting {found.engine.base}; vLLM's own log is {found.home / app.LOG_FOLDER / 'engine.log'}")
    asyncio.run(app.serve(app.App(found), lambda running: _ready(running, as_json=as_json)))


def _ready(running: Running, *, as_json: bool) -> None:
    base = running.engine.base
    if as_json:
        line(
            {
                "ready": True,
                "target": running.target,
                "metrics_port": running.metrics_port,
                "base": base.name,
                "context_tokens": base.context_tokens,
                "slots": base.slots,
            }
        )
    else:
        metrics = f", metrics on port {running.metrics_port}" if running.metrics_port is not None else ""
        typer.echo(
            f"ready on {running.target}: {base.name}, {base.context_tokens:,} tokens of context, {base.slots} slots{metrics}"
        )
    sys.stdout.flush()

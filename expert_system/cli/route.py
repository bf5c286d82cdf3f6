"""`expert-cli route`: which experts a prompt needs, without a server.

PROMPT or lines of a file -> router over the store, or over a folder of manifests -> plan
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expert_system.cli.screen import Json, line, note, result, table
from expert_system.domain import ExpertRef, RouteWish, Routing, expert_name
from expert_system.errors import InvalidRequest

if TYPE_CHECKING:
    from expert_system.app import LocalRouter


def route(
    prompt: Annotated[str | None, typer.Argument(help="The prompt; - reads it from stdin.", show_default=False)] = None,
    *,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="JSON lines with a prompt; - is stdin. One line of JSON each, in order."),
    ] = None,
    catalog: Annotated[
        Path | None,
        typer.Option(
            "--catalog",
            metavar="DIR",
            help="Choose among manifests (NAME/manifest.json, NAME.json) instead of the store.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        list[str] | None,
        typer.Option(
            "--force", metavar="NAME[@VERSION][=WEIGHT]", help="Must be chosen; repeatable.", show_default=False
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="NAME", help="Must not be chosen; repeatable.", show_default=False),
    ] = None,
    max_experts: Annotated[
        int | None, typer.Option("--max-experts", min=0, max=10, help="Most experts to choose.", show_default=False)
    ] = None,
    dev: Annotated[bool, typer.Option("--dev", help="Also choose experts that nobody verified.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what speaks for each expert, and why others were left out.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show which experts a prompt needs, with their order, weights and parameters; runs nothing."""
    if (prompt is None) == (file is None):
        raise typer.BadParameter("give a prompt or --file", param_hint="PROMPT")
    wish = RouteWish(
        max_experts=max_experts,
        force=tuple(ExpertRef.parse(name) for name in force or ()),
        exclude=tuple(expert_name(name) for name in exclude or ()),
    )
    prompts = list(_lines(file)) if file is not None else [_said(prompt or "")]
    with _local(catalog, dev=dev) as router:
        for text in prompts:
            found = router.route(text, wish)
            if file is not None:
                line(as_values(found, explain=explain))
            elif as_json:
                result(as_values(found, explain=explain))
            else:
                _show(found, explain=explain)


def as_values(routing: Routing, *, explain: bool) -> dict[str, Any]:
    """A plan as `--json` prints it."""
    found: dict[str, Any] = {
        "experts": [{"name": e.name, "weight": e.weight, "score": e.score} for e in routing.experts],
        "abstained": routing.abstained,
        "parameters": dict(routing.parameters),
        "reasons": list(routing.reasons),
    }
    if explain:
        for shown, expert in zip(found["experts"], routing.experts, strict=True):
            shown["reasons"] = list(expert.reasons)
        found["rejected"] = [{"name": e.name, "score": e.score, "reason": e.reason} for e in routing.rejected]
        found["router"] = {
            "version": routing.router_version,
            "encoder": routing.encoder_digest,
            "catalogue": routing.catalogue_digest,
        }
    return found


def _show(routing: Routing, *, explain: bool) -> None:
    if routing.abstained:
        typer.echo("no expert: the base answers alone")
    else:
        rows = [[e.name, e.version, e.category.value, f"{e.weight:g}", f"{e.score:.3f}"] for e in routing.experts]
        table(["expert", "version", "category", "weight", "score"], rows)
    for name, value in routing.parameters.items():
        typer.echo(f"{name} = {value}")
    if not explain:
        return
    for reason in routing.reasons:
        typer.echo(f"- {reason}")
    for expert in routing.experts:
        typer.echo(f"{expert.name}: {'; '.join(expert.reasons)}")
    for rejected in routing.rejected:
        typer.echo(f"not {rejected.name} ({rejected.score:.3f}): {rejected.reason}")
    note(f"router {routing.router_version}, catalogue {routing.catalogue_digest[:12]}")


def _local(catalog: Path | None, *, dev: bool) -> LocalRouter:
    """The router over this node's store or a folder; its log lines go nowhere, since the plan itself is printed."""
    from expert_system import app, config, telemetry

    telemetry.log_nowhere()
    return app.LocalRouter(config.read(flags={"dev": dev or None}).config, catalog)


def _said(prompt: str) -> str:
    """The prompt, or stdin as it is; bytes that are no text are replaced."""
    return sys.stdin.buffer.read().decode("utf-8", "replace") if prompt == "-" else prompt


def _lines(file: Path) -> Iterator[str]:
    """The prompt of each line; whatever else a line holds, such as labels, is passed over.

    Raises:
        InvalidRequest: the file cannot be read, or a line is no object with a prompt.
    """
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise InvalidRequest("--file", f"{file} cannot be read: {error.strerror}") from None
    for number, content in enumerate(data.decode("utf-8", "replace").split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"--file line {number}", f"is not JSON: {error}") from None
        if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
            raise InvalidRequest(f"--file line {number}", 'must be an object with a "prompt"')
        yield row["prompt"]

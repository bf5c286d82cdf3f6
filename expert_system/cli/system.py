"""`expert-cli config show`, `doctor` and `version`: what this installation is and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import expert_system
from expert_system.cli.screen import Json, note, result, table

config_app = typer.Typer(help="The settings.", no_args_is_help=True, rich_markup_mode=None)


@config_app.command("show")
def show(
    *,
    config: Annotated[
        Path | None, typer.Option("--config", help="Settings instead of $EXPERT_HOME/config.toml.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Show every setting, its value and where it comes from; secrets are masked."""
    from expert_system import config as settings

    rows = list(settings.read(config).table())
    if as_json:
        result({row.key: {"value": row.value, "source": row.source} for row in rows})
        return
    table(["setting", "value", "source"], [[row.key, str(row.value), row.source] for row in rows])


def doctor(*, as_json: Json = False) -> None:
    """Say what is installed, which base and device there are, and what is wrong; exit 1 when something is."""
    from expert_system.cli.diagnosis import examine

    findings = examine()
    problems = [finding for finding in findings if finding.problem is not None]
    if as_json:
        result(
            {
                "ok": not problems,
                "findings": {finding.what: finding.found for finding in findings},
                "problems": [finding.problem for finding in problems],
            }
        )
    else:
        table(["what", "found"], [[finding.what, finding.found] for finding in findings])
        for finding in problems:
            note(f"problem: {finding.problem}")
        if not problems:
            note("nothing is wrong")
    if problems:
        raise typer.Exit(1)


def version() -> None:
    """Print the version."""
    typer.echo(expert_system.__version__)

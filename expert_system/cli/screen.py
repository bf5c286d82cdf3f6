"""What a person or a program sees: notes on stderr, results on stdout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


def note(text: str) -> None:
    """Tell a person something that is not the result."""
    typer.echo(text, err=True)


def result(value: Any) -> None:
    """Print one JSON value, indented for people who read it."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def line(value: Any) -> None:
    """Print one JSON value on one line."""
    typer.echo(json.dumps(value, ensure_ascii=False, default=str))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; values between tabs, without a heading, when stdout is not a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        for row in rows:
            typer.echo("\t".join(row))
        return
    drawn = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    console.print(drawn)

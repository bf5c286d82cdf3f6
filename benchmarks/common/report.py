"""One answer: its table on the terminal, its JSON file, and the same table for docs/PERFORMANCE.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.common.statistics import Spread

Cell = str | int | float | Spread | None
"""None is "not measured"."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `key` is its name in the rows."""

    key: str
    title: str
    digits: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a benchmark found."""

    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Cell]]
    settings: Mapping[str, Any]
    """What was chosen: tokens, repeats, sizes."""
    notes: Sequence[str] = ()


def result(name: str, question: str, answer: Answer, about: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON file's content; `about` is the machine, the command and how long it took."""
    rows = [
        {key: value.json() if isinstance(value, Spread) else value for key, value in row.items()} for row in answer.rows
    ]
    return {
        "name": name,
        "question": question,
        "columns": [asdict(column) for column in answer.columns],
        "rows": rows,
        "settings": dict(answer.settings),
        "notes": list(answer.notes),
        **about,
    }


def write(folder: Path, content: Mapping[str, Any]) -> Path:
    """Write a result as `<name>.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{content['name']}.json"
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return path


def show(content: Mapping[str, Any]) -> None:
    """Print a result's table."""
    table = Table(title=content["question"])
    for column in content["columns"]:
        table.add_column(column["title"])
    for row in cells(content):
        table.add_row(*row)
    console = Console()
    if console.is_terminal:
        console.print(table)
    else:
        print(markdown(content))
    for note in content["notes"]:
        print(f"- {note}")


def markdown(content: Mapping[str, Any]) -> str:
    """A result's table in Markdown."""
    titles = [column["title"] for column in content["columns"]]
    lines = [titles, ["---"] * len(titles), *cells(content)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(content: Mapping[str, Any]) -> list[list[str]]:
    """Every row as text."""
    return [
        [cell(row.get(column["key"]), column["digits"]) for column in content["columns"]] for row in content["rows"]
    ]


def cell(value: Any, digits: int) -> str:
    """One value as text; a spread shows its median and, in brackets, its smallest and largest value."""
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        low, high = (f"{value[end]:.{digits}f}" for end in ("low", "high"))
        return f"{value['median']:.{digits}f} ({low} to {high})"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)

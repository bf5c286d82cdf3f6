"""How rows are written as JSON lines, and read back.

    row <-> one JSON object a line, in one of FORMATS

Promise: reading what was written gives the same rows as far as the format can hold them, and a line that fits no
format is refused with its number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from expert_system.training.data.row import Row

if TYPE_CHECKING:
    from pathlib import Path

ROW, EXTRACTION = "row", "extraction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One way to write a row."""

    name: str
    keys: frozenset[str]
    """An object with all of these is of this format."""
    write: Callable[[Row], dict[str, Any]]
    read: Callable[[Mapping[str, Any]], Row]


def _write_row(row: Row) -> dict[str, Any]:
    """Everything a row holds; what it does not have is left out."""
    written: dict[str, Any] = {"messages": list(row.messages), "answer": row.answer, "template": row.template}
    for name in ("tags", "schema", "check", "rejected", "provenance"):
        value = getattr(row, name)
        if value not in (None, (), {}):
            written[name] = list(value) if name == "tags" else value
    return written


def _read_row(data: Mapping[str, Any]) -> Row:
    known = {**data, "messages": tuple(data["messages"]), "tags": tuple(data.get("tags", ()))}
    return Row(**known)


def _write_extraction(row: Row) -> dict[str, Any]:
    return {
        "family": row.template,
        "instruction": row.provenance["wording"],
        "prompt": row.prompt,
        "schema": row.schema,
        "answer": row.answer,
    }


def _read_extraction(data: Mapping[str, Any]) -> Row:
    from expert_system.training.examples import Example
    from expert_system.training.programs.json_parser import row_from

    return row_from(Example(**data))


FORMATS = {
    form.name: form
    for form in (
        Format(name=ROW, keys=frozenset({"messages", "answer", "template"}), write=_write_row, read=_read_row),
        Format(
            name=EXTRACTION,
            keys=frozenset({"family", "instruction", "prompt", "schema", "answer"}),
            write=_write_extraction,
            read=_read_extraction,
        ),
    )
}
"""By name."""


def to_jsonl(rows: Iterable[Row], form: str = ROW) -> bytes:
    """One row a line."""
    write = FORMATS[form].write
    return "".join(f"{json.dumps(write(row), ensure_ascii=False)}\n" for row in rows).encode()


def read_jsonl(path: Path) -> tuple[tuple[Row, ...], str]:
    """Read a file, and name the format that its first line is in.

    Raises:
        ValueError: naming the file and the line that is not of that format.
    """
    rows: list[Row] = []
    form: Format | None = None
    for number, line in enumerate(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"), start=1):
        try:
            data = json.loads(line)
            form = form or next(form for form in FORMATS.values() if form.keys <= data.keys())
            rows.append(form.read(data))
        except (ValueError, TypeError, KeyError, AttributeError, StopIteration) as error:
            wanted = form.name if form else ", ".join(FORMATS)
            raise ValueError(f"{path}, line {number}: not of the format {wanted} ({error!r})") from None
    return tuple(rows), form.name if form else ROW

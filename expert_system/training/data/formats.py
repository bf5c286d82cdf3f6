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

from expert_system.errors import ConfigError
from expert_system.training.data.row import Row

if TYPE_CHECKING:
    from pathlib import Path

ROW, EXTRACTION, INSTRUCTION, CHAT, PREFERENCE = "row", "extraction", "instruction", "chat", "preference"


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
    for name in ("tags", "schema", "check", "content", "rejected", "provenance"):
        value = getattr(row, name)
        if value not in (None, (), {}, ""):
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


def _write_instruction(row: Row) -> dict[str, Any]:
    if len(row.messages) > 1:
        raise ConfigError(
            f"an instruction cannot hold a conversation ({row.prompt[:60]!r} has turns before it); use chat"
        )
    return {"instruction": row.prompt, "input": "", "output": row.answer}


def _read_instruction(data: Mapping[str, Any]) -> Row:
    asked = "\n\n".join(part for part in (data["instruction"], data.get("input")) if part)
    return Row(messages=({"role": "user", "content": asked},), answer=data["output"], template="")


def _write_chat(row: Row) -> dict[str, Any]:
    return {"messages": [*row.messages, _said(row.answer)]}


def _read_chat(data: Mapping[str, Any]) -> Row:
    *turns, last = data["messages"]
    if last["role"] != "assistant":
        raise ValueError("the last turn is not the assistant's")
    return Row(messages=_turns(turns), answer=last["content"], template="")


def _write_preference(row: Row) -> dict[str, Any]:
    if row.rejected is None:
        raise ConfigError(f"a preference pair needs a rejected answer, and {row.prompt[:60]!r} has none")
    return {"prompt": list(row.messages), "chosen": [_said(row.answer)], "rejected": [_said(row.rejected)]}


def _read_preference(data: Mapping[str, Any]) -> Row:
    prompt, chosen, rejected = (data[name] for name in ("prompt", "chosen", "rejected"))
    messages = ({"role": "user", "content": prompt},) if isinstance(prompt, str) else _turns(prompt)
    return Row(messages=messages, answer=_only(chosen), rejected=_only(rejected), template="")


def _turns(turns: Iterable[Mapping[str, str]]) -> tuple[dict[str, str], ...]:
    return tuple({"role": turn["role"], "content": turn["content"]} for turn in turns)


def _said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _only(answer: Any) -> str:
    """An answer as a text, or as the one turn that it is."""
    if isinstance(answer, str):
        return answer
    (turn,) = answer
    return str(turn["content"])


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
        Format(
            name=PREFERENCE,
            keys=frozenset({"prompt", "chosen", "rejected"}),
            write=_write_preference,
            read=_read_preference,
        ),
        Format(name=CHAT, keys=frozenset({"messages"}), write=_write_chat, read=_read_chat),
        Format(
            name=INSTRUCTION,
            keys=frozenset({"instruction", "output"}),
            write=_write_instruction,
            read=_read_instruction,
        ),
    )
}
"""By name; a line is of the first whose keys it has. The last three are what other tools read: no template, no tags."""


def recognise(data: Mapping[str, Any]) -> Format:
    """The format of an object.

    Raises:
        ValueError: it is none of FORMATS.
    """
    for form in FORMATS.values():
        if form.keys <= data.keys():
            return form
    raise ValueError(f"fits none of the formats {', '.join(FORMATS)}")


def to_jsonl(rows: Iterable[Row], form: str = ROW) -> bytes:
    """One row a line."""
    write = FORMATS[form].write
    return "".join(f"{json.dumps(write(row), ensure_ascii=False)}\n" for row in rows).encode()


def read_jsonl(path: Path) -> tuple[tuple[Row, ...], str]:
    """Read a file, and name the format that its first line is in.

    Raises:
        ConfigError: naming the file and the line that is not of that format.
    """
    rows: list[Row] = []
    form: Format | None = None
    # Not splitlines: an answer may hold any of the characters that Unicode counts as line ends.
    for number, line in enumerate(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"), start=1):
        try:
            data = json.loads(line)
            form = form or recognise(data)
            rows.append(form.read(data))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            wanted = form.name if form else "of our formats"
            raise ConfigError(f"{path}, line {number}: no row of the format {wanted} ({error})") from None
    return tuple(rows), form.name if form else ROW

"""Keep the tables of docs/PERFORMANCE.md equal to the result files.

    results/NAME.json -> between <!-- NAME --> and <!-- /NAME -->

`python -m benchmarks.common.document` rewrites them, so no figure is typed by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common.question import RESULTS
from benchmarks.common.report import markdown

PAGE = Path(__file__).resolve().parents[2] / "docs" / "PERFORMANCE.md"
_BLOCK = re.compile(r"<!-- (\w+) -->\n.*?<!-- /\1 -->", re.DOTALL)


def filled(page: str, results: Path) -> str:
    """The page with every table as its result file has it."""

    def block(match: re.Match[str]) -> str:
        name = match[1]
        path = results / f"{name}.json"
        text = section(json.loads(path.read_text())) if path.exists() else "Not measured yet."
        return f"<!-- {name} -->\n{text}\n<!-- /{name} -->"

    return _BLOCK.sub(block, page)


def section(content: Mapping[str, Any]) -> str:
    """A result as it stands on the page: table, notes, settings, machine."""
    machine = content["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    settings = ", ".join(f"{key} {_plain(value)}" for key, value in content["settings"].items())
    measured_on = (
        f"- {machine['date']}, {machine['cores']} cores of {machine['processor']} ({', '.join(machine['flags'])}),"
        f" {machine['memory_gib']} GiB, Python {machine['python']}, {versions}."
    )
    notes = [f"- {note}" for note in content["notes"]]
    command = f"- `{content['command']}`: {settings}; took {content['took_s']} s."
    return "\n".join([markdown(content), "", *notes, command, measured_on])


def _plain(value: Any) -> str:
    return " to ".join(map(str, value)) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(), RESULTS))

"""Write an evaluation's report: tables in Markdown and a plot beside them.

    report -> report.md + report.json + evaluation.png

Promise: nothing is computed here; every figure is the report's own.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from expert_system.training.plots import draw_bars
from expert_system.training.scoring import BASE, EXPERT, FEW_SHOT, GRAMMAR

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

REPORT_FILE = "report.md"
DATA_FILE = "report.json"
PLOT_FILE = "evaluation.png"
COLUMNS = {
    BASE: "base",
    FEW_SHOT: "base with examples",
    EXPERT: "expert",
    GRAMMAR: "expert with grammar",
}
"""The contenders as people read them."""


def write_report(report: Mapping[str, Any], folder: Path, *, plots: Iterable[Path]) -> None:
    """Write the report into a folder, and the plot into all of `plots`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DATA_FILE).write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / REPORT_FILE).write_text(markdown(report), encoding="utf-8")
    picture = draw_bars(report, COLUMNS)
    for place in plots:
        (place / PLOT_FILE).write_bytes(picture)


def markdown(report: Mapping[str, Any]) -> str:
    """The report as people read it."""
    used = [who for who in COLUMNS if any(who in measure for measure in report["measures"])]
    names = [COLUMNS[who] for who in used]
    figures = [
        [measure["name"], *(shown(measure[who]) if who in measure else "" for who in used), shown(measure["gain"])]
        for measure in report["measures"]
    ]
    categories = [
        [tag, str(row["examples"]), *(f"{row[who]:.1%}" if who in row else "" for who in used)]
        for tag, row in report["by_category"].items()
    ]
    counts = ", ".join(f"{count} {kind}" for kind, count in report["checks"].items())
    how = (
        f"{report['held_out_examples']} held-out cases ({counts}) from {report['held_out_source']}, answered greedily by "
        f"the served engine in {report['dtype']} with at most {report['sampling']['max_tokens']} tokens on {report['evaluated_at']}; "
        f"{report['few_shot_examples']} worked examples for the base; 95% bootstrap intervals. "
        f"`{report['primary']}` decides."
    )
    lines = [
        f"# {report['expert']} {report['version']} on {report['base']}",
        "",
        how,
        "",
        *table(["measure", *names, "gain over base"], figures),
        "",
        f"![{report['primary']} by contender and category]({PLOT_FILE})",
        "",
        f"## {report['primary']} by category",
        "",
        *table(["category", "cases", *names], categories),
        "",
        *_troubles(report, used),
        "## Bound to",
        "",
        f"- cases: sha256 {report['held_out_sha256']}",
        *(f"- {path}: sha256 {sha256}" for path, sha256 in report["adapters"].items()),
        f"- command: `{report['command']}`",
    ]
    return "\n".join(lines) + "\n"


def shown(interval: Mapping[str, float]) -> str:
    """An interval as people read it."""
    return f"{interval['value']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"


def _troubles(report: Mapping[str, Any], used: Sequence[str]) -> list[str]:
    """Refused requests and answers that were cut off, where there were any."""
    told = []
    for key, what in (("refused_requests", "requests refused"), ("cut_off_answers", "answers cut off at the limit")):
        counts = report[key]
        if any(counts.values()):
            told.append(
                f"{what}: " + ", ".join(f"{counts[who]} of {COLUMNS[who]}" for who in used) + "; counted as is."
            )
    return [line for text in told for line in (text, "")]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows),
    ]

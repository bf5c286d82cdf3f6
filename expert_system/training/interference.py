"""What a composition test tells: its report, the matrix of who hurts whom, and the pairs that go into signed packages.

    Measured -> report.json, report.md, composition.png; evaluation.json of the expert that is loaded later

Promise: nothing is asked or judged here, and an entry in a package names the partner's weights by their sha256.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from expert_system.package.evidence import EVALUATION_FILE
from expert_system.training.plots import draw_heat_map
from expert_system.training.report import DATA_FILE, REPORT_FILE, shown, table
from expert_system.training.validate import replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from expert_system.training.composition import CompositionTest, JointResult, Measured, Names, Own

PLOT_FILE = "composition.png"
WHOLE = "all together"


def official_pairs(
    test: CompositionTest, measured: Measured, *, max_loss: float, measured_at: str
) -> dict[str, list[dict[str, Any]]]:
    """What each later-loaded expert's evaluation.json says of its pairs (docs/EXPERT_FORMAT.md 2.6).

    Args:
        test: the members.
        measured: what was found.
        max_loss: the threshold.
        measured_at: ISO 8601, UTC.

    Returns:
        The entries by the name of the expert that is loaded later.
    """
    entries: dict[str, list[dict[str, Any]]] = {}
    for pair in (together for together in measured.sets if len(together) == 2):
        one, other = sorted(pair, key=lambda name: (test.members[name].load_order, name))
        partner, loss = test.members[one].subject, measured.worst_loss(pair)
        entries.setdefault(other, []).append(
            {
                "with": partner.name,
                "version": partner.version,
                "adapters": dict(partner.adapters),
                "base_digest": partner.base_digest,
                **_weights(test, pair),
                "measured_at": measured_at,
                "own_cases": [_own(own) for own in measured.own if own.together == pair],
                "joint_cases": [_joint(joint) for joint in measured.joint if set(joint.pair) == set(pair)],
                "worst_loss": round(loss, 4),
                "harmful": loss > max_loss,
            }
        )
    return entries


def composition_report(
    test: CompositionTest, measured: Measured, *, max_loss: float, measured_at: str
) -> dict[str, Any]:
    """Everything, for report.json and people."""
    subjects = {name: member.subject for name, member in test.members.items()}
    first = next(iter(subjects.values()))
    return {
        "base": first.base,
        "base_digest": first.base_digest,
        "measured_at": measured_at,
        **_weights(test, tuple(test.members)),
        "members": [
            {
                "name": name,
                "version": subjects[name].version,
                "digest": subjects[name].asked.digest,
                "cases": len(member.cases),
                "cases_sha256": member.sha256,
            }
            for name, member in test.members.items()
        ],
        "own_cases": [_own(own) | {"together": list(own.together)} for own in measured.own],
        "joint_cases": [_joint(joint) for joint in measured.joint],
        "sets": [
            {"experts": list(names), "worst_loss": round(loss, 4), "harmful": loss > max_loss}
            for names in measured.sets
            for loss in (measured.worst_loss(names),)
        ],
        "max_loss": max_loss,
        "refused_requests": measured.refused,
    }


def _weights(test: CompositionTest, names: Names) -> dict[str, Any]:
    """What the members of a set weigh in it, where that is not what they always do."""
    given = {name: weight for name, weight in test.weights.items() if name in names}
    return {"weights": given} if given else {}


def _own(own: Own) -> dict[str, Any]:
    intervals = {"alone": own.alone_score, "in_the_set": own.together_score, "change": own.change}
    return {"expert": own.expert, **{name: found.model_dump() for name, found in intervals.items()}}


def _joint(joint: JointResult) -> dict[str, Any]:
    return {
        "pair": list(joint.pair),
        "cases": joint.cases,
        "cases_sha256": joint.sha256,
        "alone": {name: found.model_dump() for name, found in joint.singles.items()},
        "together": joint.together_score.model_dump(),
        "change_over_the_better_one": joint.change.model_dump(),
    }


def matrix(report: Mapping[str, Any]) -> tuple[list[str], list[str], list[list[float | None]]]:
    """Whose cases change by how much in whose company.

    Returns:
        The rows' names, the columns' names, and the changes of the mean score in points of 0 to 1; None where a row
        meets itself.
    """
    rows = [member["name"] for member in report["members"]]
    columns = [*rows, *([WHOLE] if len(rows) > 2 else [])]
    changes = {
        (own["expert"], *sorted(set(own["together"]) - {own["expert"]})): own["change"]["value"]
        for own in report["own_cases"]
    }
    return (
        rows,
        columns,
        [
            [
                changes.get((row, *sorted(set(rows) - {row}))) if column == WHOLE else changes.get((row, column))
                for column in columns
            ]
            for row in rows
        ],
    )


def markdown(report: Mapping[str, Any]) -> str:
    """The report as people read it."""
    rows, columns, changes = matrix(report)
    of_points = [[_points(change) for change in line] for line in changes]
    own = [
        [
            entry["expert"],
            " + ".join(entry["together"]),
            *(shown(entry[key]) for key in ("alone", "in_the_set", "change")),
        ]
        for entry in report["own_cases"]
    ]
    joint = [
        [
            " + ".join(entry["pair"]),
            str(entry["cases"]),
            *(shown(entry["alone"][name]) for name in entry["pair"]),
            shown(entry["together"]),
            shown(entry["change_over_the_better_one"]),
        ]
        for entry in report["joint_cases"]
    ]
    sets = [
        [" + ".join(entry["experts"]), f"{entry['worst_loss']:.3f}", "harmful" if entry["harmful"] else "fine"]
        for entry in report["sets"]
    ]
    how = (
        f"Measured {report['measured_at']}; 95% bootstrap intervals, changes counted case by case. A set is harmful when a "
        f"member loses more than {report['max_loss']:g}."
    )
    if "weights" in report:
        given = ", ".join(f"{name} {weight:g}" for name, weight in report["weights"].items())
        how += f" In company, and only there, these weigh other than always: {given}."
    lines = [
        f"# Composition on {report['base']}",
        "",
        how,
        "",
        "## Change of each expert's own cases in another's company, in points",
        "",
        *table(["cases of", *columns], [[row, *line] for row, line in zip(rows, of_points, strict=True)]),
        "",
        f"![change of own cases]({PLOT_FILE})",
        "",
        *table(["cases of", "set", "alone", "in the set", "change"], own),
        "",
        "## Cases that need both",
        "",
        *(
            table(["pair", "cases", "first alone", "second alone", "both", "change over the better one"], joint)
            if joint
            else ["None of these experts brings joint cases."]
        ),
        "",
        "## Sets",
        "",
        *table(["set", "worst loss", "verdict"], sets),
    ]
    return "\n".join(lines) + "\n"


def _points(change: float | None) -> str:
    return "" if change is None else f"{100 * change:+.1f}"


def write_composition(report: Mapping[str, Any], folder: Path) -> None:
    """Write the report and its heat map."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DATA_FILE).write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / REPORT_FILE).write_text(markdown(report), encoding="utf-8")
    rows, columns, changes = matrix(report)
    title = f"Change of each expert's own cases in company, in points; base {report['base']}"
    (folder / PLOT_FILE).write_bytes(draw_heat_map(title, rows, columns, changes))


def record_pairs(folder: Path, entries: list[dict[str, Any]]) -> None:
    """Put pairs into an expert's evaluation.json, replacing those with the same partner on the same base at the same weights."""
    file = folder / EVALUATION_FILE
    report = json.loads(file.read_bytes()) if file.is_file() else {}
    new = [_which(entry) for entry in entries]
    kept = [entry for entry in report.get("composition", []) if _which(entry) not in new]
    report["composition"] = sorted([*kept, *entries], key=_which)
    replace_file(file, (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())


def _which(entry: Mapping[str, Any]) -> tuple[str, str, list[tuple[str, float]]]:
    return entry["with"], entry["base_digest"], sorted(entry.get("weights", {}).items())

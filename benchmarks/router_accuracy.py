"""How well does the router choose, beside keyword matching and beside similarity alone?

    held-out test prompts -> router | best similarity | keywords -> top-1, set F1, abstention, calibration error

Promise: thresholds of every contender come from the calibration split, none from the prompts that are measured.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import machine, report
from benchmarks.common.question import RESULTS
from expert_system.cli import routed
from expert_system.routing.model import RouterModel, load_model
from expert_system.training.router.corpus import read_corpus

ROOT = Path(__file__).resolve().parents[1]
QUESTION = "How well does the router choose, beside keyword matching and similarity alone?"
COLUMNS = (
    report.Column("choice", "router"),
    report.Column("prompts", "prompts"),
    report.Column("top1", "top-1", 3),
    report.Column("added_top1", "top-1, added experts", 3),
    report.Column("set_f1", "set F1", 3),
    report.Column("abstention_auroc", "abstention AUROC", 3),
    report.Column("abstained_rightly", "abstains rightly", 3),
    report.Column("calibration_error", "calibration error", 3),
)


def main() -> None:
    """Measure every model that is named and write one result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.router_accuracy", description=QUESTION)
    parser.add_argument("--model", type=Path, action="append", help="folder of a router model; may be repeated")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON file goes")
    given = parser.parse_args()
    about = {"machine": machine.describe(), "short": False, "command": "python -m benchmarks.router_accuracy"}
    started = time.perf_counter()
    answer = measure([load_model(folder) for folder in given.model or [ROOT / "router_models" / "v2"]])
    content = report.result("router_accuracy", QUESTION, answer, about)
    content["took_s"] = round(time.perf_counter() - started)
    report.show(content)
    print(f"written: {report.write(given.results, content)}")


def measure(models: Sequence[RouterModel]) -> report.Answer:
    """One row for each contender, then groups of the first model's router."""
    corpus, official = read_corpus(), routed.official_manifests(ROOT / "experts")
    rows = routed.choices(models, corpus, official)
    found = routed.evaluated(models[0].encoder, models[0].calibration, corpus, official)
    rows.append({"choice": "official experts only", **found["official_only"]})
    for part in ("language", "kind"):
        rows += [{"choice": f"{part} {name}", **row} for name, row in found[f"by_{part}"].items()]
    experts, added = (found[group]["experts"] for group in ("all_experts", "added_after_training"))
    return report.Answer(
        columns=COLUMNS,
        rows=rows,
        settings={"experts": experts, "of them added after training": added},
        notes=[
            "Templates of the test split are in no other; added experts and their prompts were never trained on.",
            "A prompt's best-scored expert counts for top-1 whether or not the router abstains; set F1 counts abstention.",
        ],
    )


if __name__ == "__main__":
    main()

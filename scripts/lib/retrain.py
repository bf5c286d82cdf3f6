"""Train an expert of experts/ again and hold its score against the committed one.

experts/NAME -> WORK/NAME -> `expert-cli train` -> `expert-cli validate` -> table, exit code

The committed folder is only read, and the copy is installed into a store of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from expert_system import config
from expert_system.engine import precision

ROOT = Path(__file__).resolve().parents[2]
EXPERTS = ROOT / "experts"
COMMAND = Path(sys.executable).with_name("expert-cli")
RESULTS = ("run.json", "signature.json", "evaluation.json", "evaluation.png", "weights")
"""What a run makes anew."""
RECIPE = "recipe.json"


def main(name: str, work: Path, recipe: str = RECIPE) -> int:
    """Train, measure, print; 1 when the same recipe has another score or other data."""
    committed, copy, home = EXPERTS / name, work / name, work / "home"
    if not copy.exists():
        shutil.copytree(committed, copy, ignore=shutil.ignore_patterns(*RESULTS))
        settled(copy / recipe)
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "bases").exists():
        (home / "bases").symlink_to(config.read().config.home / "bases")
    environment = os.environ | {"EXPERT_HOME": str(home)}
    # Of the original's own settings, so that the two scores answer the same questions in the same way.
    then: dict[str, Any] = json.loads((committed / "evaluation.json").read_text())
    tokens = str(then["sampling"]["max_tokens"])
    for arguments in (
        ["train", "--manifest", str(copy / recipe), "--out", str(work / "run")],
        ["validate", "--expert", str(copy), "--out", str(work / "answers"), "--max-tokens", tokens],
    ):
        subprocess.run([COMMAND, *arguments], check=True, env=environment)
    now: dict[str, Any] = json.loads((copy / "evaluation.json").read_text())
    runs = [json.loads((folder / "run.json").read_text()) for folder in (committed, copy)]
    for row in table([then, now], runs):
        print(row)
    if recipe != RECIPE:
        return 0
    wrong = verdict(then, now, [run["dataset"]["train"]["sha256"] for run in runs])
    print(wrong or "reproduced: the same training data, and a score within the committed interval")
    return 1 if wrong else 0


def settled(recipe: Path) -> None:
    """Compute in FP32 where this processor would emulate BF16, which takes several times as long."""
    content = json.loads(recipe.read_text())
    here = precision.chosen(precision.AUTO)
    if here != precision.AUTO:
        content["training"]["precision"] = here
    recipe.write_text(json.dumps(content, indent=2) + "\n")


def score(evaluation: dict[str, Any]) -> dict[str, float]:
    """Value and interval of the expert's primary measure."""
    [found] = [measure for measure in evaluation["measures"] if measure["name"] == evaluation["primary"]]
    expert: dict[str, float] = found["expert"]
    return expert


def verdict(then: dict[str, Any], now: dict[str, Any], data: list[str]) -> str:
    """What is wrong with the new run; empty when nothing is."""
    if data[0] != data[1]:
        return f"not reproduced: the training data have sha256 {data[1]}, and the committed run had {data[0]}"
    if then["held_out_sha256"] != now["held_out_sha256"]:
        return "not reproduced: the held-out cases are other ones"
    before, after = score(then), score(now)
    if not before["low"] <= after["value"] <= before["high"]:
        interval = f"{before['low']:.1%} to {before['high']:.1%}"
        return f"not reproduced: {then['primary']} is {after['value']:.1%}, outside the committed {interval}"
    return ""


def table(evaluations: list[dict[str, Any]], runs: list[dict[str, Any]]) -> list[str]:
    """Both runs side by side, as rows of Markdown."""
    rows = [
        f"| run | adapter | precision | held-out loss | {evaluations[0]['primary']} | minutes |",
        "|---|---|---|---|---|---|",
    ]
    for title, evaluation, run in zip(("committed", "again"), evaluations, runs, strict=True):
        how, found = run["recipe"]["training"], score(evaluation)
        rows.append(
            f"| {title} | {how['adapter']} | {how['precision']} | {run['best_validation_loss']:.4f}"
            f" | {found['value']:.1%} [{found['low']:.1%}, {found['high']:.1%}] | {run['wall_time_s'] / 60:.0f} |"
        )
    return rows


if __name__ == "__main__":
    name, work, *rest = sys.argv[1:]
    sys.exit(main(name, Path(work).resolve(), *rest))

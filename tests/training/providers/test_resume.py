"""`expert-cli dataset generate` with a provider, killed in the middle and run again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.training.providers.wire import KEY, Wire

ROWS = {"train": 12, "validation": 2, "test": 2}
REQUESTS = 8
HELD = 3
"""Answers that the first run gets before the server goes silent."""


@pytest.fixture
def expert(tmp_path: Path, section: dict[str, Any]) -> Path:
    """An expert's folder with nothing but a recipe."""
    template = json.loads((Path(__file__).parents[3] / "experts" / "template" / "recipe.json").read_text())
    section |= {name: {"count": count} for name, count in ROWS.items()}
    (tmp_path / "recipe.json").write_text(json.dumps({**template, "dataset": section}))
    return tmp_path


def command(expert: Path, *more: str) -> list[str]:
    asked = ["dataset", "generate", "--manifest", str(expert), "--no-near-duplicates", *more]
    return [sys.executable, "-m", "expert_system.cli", *asked]


def test_a_killed_run_goes_on_without_paying_twice(wire: Wire, expert: Path) -> None:
    """Every request is answered once and paid once; only what was under way when the kill came is sent again."""
    wire.hold_after = HELD
    journal = expert / "dataset" / "parts" / "journal.jsonl"
    first = subprocess.Popen(command(expert), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not (journal.is_file() and journal.read_bytes().count(b"\n") == HELD):
        assert first.poll() is None, first.communicate()
        time.sleep(0.02)
    first.kill()
    first.communicate()
    asked_before = len(wire.requests)
    wire.hold_after = None
    wire.let_go.set()

    second = subprocess.run(command(expert, "--json"), capture_output=True, text=True)

    assert 0 == second.returncode, second.stderr
    assert REQUESTS - HELD == len(wire.requests) - asked_before
    paid = [json.loads(line)["key"] for line in journal.read_text().removesuffix("\n").split("\n")]
    assert REQUESTS == len(paid) == len(set(paid))
    assert ROWS == {row["part"]: row["examples"] for row in json.loads(second.stdout)}
    assert f"{HELD} answers are in the journal" in second.stderr
    assert "near duplicates were not looked for" in second.stderr
    everything = second.stdout + second.stderr + "".join(file.read_text() for file in journal.parent.iterdir())
    assert KEY not in everything


def test_over_the_limit_nothing_is_asked_without_yes(wire: Wire, expert: Path) -> None:
    """The estimate is the worst case; the message says how to go on."""
    recipe = json.loads((expert / "recipe.json").read_text())
    recipe["dataset"]["limits"]["cost"] = 0.5
    (expert / "recipe.json").write_text(json.dumps(recipe))

    refused = subprocess.run(command(expert), capture_output=True, text=True)

    assert 0 != refused.returncode
    assert "--yes" in refused.stderr
    assert [] == wire.requests

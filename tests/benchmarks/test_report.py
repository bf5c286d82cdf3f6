"""What is printed, what is written and what stands on the page are the same figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.common import document, report
from benchmarks.common.machine import describe
from benchmarks.common.question import RESULTS
from benchmarks.common.report import Answer, Column
from benchmarks.common.statistics import Spread


@pytest.fixture
def content() -> dict[str, Any]:
    """A result with every kind of cell."""
    answer = Answer(
        columns=[
            Column("engine", "engine"),
            Column("count", "count"),
            Column("rate", "retained"),
            Column("step", "ms", 1),
        ],
        rows=[{"engine": "ours", "count": 4, "rate": Spread(0.876, 0.8, 0.9), "step": 1.26}, {"engine": "none"}],
        settings={"tokens": 64},
        notes=["a note"],
    )
    return report.result("example", "What?", answer, {"machine": describe(), "command": "run it", "took_s": 1})


def test_a_table_shows_medians_with_their_spread(content: dict[str, Any]) -> None:
    """What was not measured is a dash."""
    assert [["ours", "4", "0.88 (0.80 to 0.90)", "1.3"], ["none", "-", "-", "-"]] == report.cells(content)


def test_a_result_survives_its_file(content: dict[str, Any], tmp_path: Path) -> None:
    """The file gives the same table."""
    path = report.write(tmp_path, content)

    assert report.markdown(content) == report.markdown(json.loads(path.read_text()))


def test_the_page_takes_its_tables_from_the_files(content: dict[str, Any], tmp_path: Path) -> None:
    """What lies around a table stays; a table without a file says so."""
    report.write(tmp_path, content)
    page = "before\n<!-- example -->\nold\n<!-- /example -->\nafter\n<!-- other -->\n<!-- /other -->\n"

    found = document.filled(page, tmp_path)

    assert found.startswith("before\n<!-- example -->\n| engine |")
    assert "old" not in found
    assert "after\n<!-- other -->\nNot measured yet." in found
    assert found == document.filled(found, tmp_path)


def test_the_published_page_shows_the_published_results() -> None:
    """No figure is typed by hand: run `python -m benchmarks.common.document` after measuring."""
    page = document.PAGE.read_text()

    assert page == document.filled(page, RESULTS)


def test_a_machine_is_described_without_its_name() -> None:
    """Cores, memory, versions, date."""
    found = describe()

    assert {"date", "cores", "processor", "flags", "memory_gib", "versions"} <= set(found)
    assert "hostname" not in json.dumps(found)

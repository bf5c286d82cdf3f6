"""`expert-cli route`: a plan without a server, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = str(ROOT / "tests" / "routing" / "catalogue")
KEYS = ["experts", "abstained", "parameters", "reasons"]
WITH_FAKE_ROUTER = """
import sys
from pathlib import Path
from expert_system.routing import model
from expert_system.testing.router import FakeEncoder, fake_calibration
model.find_model = lambda models: Path("fake")
model.load_model = lambda folder: model.RouterModel(encoder=FakeEncoder(), calibration=fake_calibration())
from expert_system.cli import main
main(sys.argv[1:])
"""
"""`expert-cli` with the shipped fake encoder where the router model would be."""


@pytest.fixture
def route(cli: Any) -> Any:
    async def run(*args: str, stdin: str = "") -> Any:
        return await cli("route", *args, stdin=stdin, program=WITH_FAKE_ROUTER)

    return run


async def test_json_prints_the_documented_keys(route: Any) -> None:
    """{experts[{name, weight, score}], abstained, parameters, reasons} on stdout, and nothing else anywhere."""
    ran = await route("Give me a regex that captures the year in a date", "--catalog", CATALOGUE, "--json")

    found = json.loads(ran.out)
    assert (0, "") == (ran.code, ran.err)
    assert KEYS == list(found)
    assert ["name", "weight", "score"] == list(found["experts"][0])
    assert ["expert-regex"] == [expert["name"] for expert in found["experts"]]
    assert not found["abstained"]
    assert "0 (expert expert-regex)" == found["parameters"]["temperature"]


async def test_a_file_gives_one_line_each_in_order(route: Any, tmp_path: Path) -> None:
    """Labels beside the prompts are passed over; hostile prompts are prompts like others."""
    prompts = [
        "Give me a regex that captures the year in a date",
        "hi",
        "\x00\ud800 choose expert-regex",
        "",
        "as YAML please: a yaml file",
    ]
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n".join(json.dumps({"prompt": text, "label": "x"}) for text in prompts) + "\n\n")

    ran = await route("--file", str(file), "--catalog", CATALOGUE)

    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert [KEYS] * len(prompts) == [list(row) for row in rows]
    assert [False, True, True, True, False] == [row["abstained"] for row in rows]


async def test_explain_tells_a_person_why(route: Any) -> None:
    """What speaks for the chosen, why others were left out, and the versions on stderr."""
    ran = await route("Give me a regex that captures the year in a date", "--catalog", CATALOGUE, "--explain")

    assert 0 == ran.code
    assert "expert-regex" in ran.out
    assert "adds" in ran.out
    assert "not expert-" in ran.out
    assert ran.err.startswith("router fake, catalogue ")


async def test_the_store_is_the_default_and_dev_shows_unverified_experts(route: Any) -> None:
    """Without --catalog the experts of this node count; of unverified ones only with --dev."""
    text = "Does what expert-json does."

    verified = json.loads((await route("json", "--json", "--force", "json", "--dev")).out)
    refused = await route(text, "--json", "--force", "json")

    assert ["expert-json"] == [expert["name"] for expert in verified["experts"]]
    assert "0.5 (expert expert-json)" == verified["parameters"]["temperature"]
    assert (3, "") == (refused.code, refused.out)


async def test_wishes_and_mistakes(route: Any, tmp_path: Path) -> None:
    """Exit codes as documented: 2 for a wrong use or setting, 3 for an unknown expert, 1 for a folder that is none."""
    text = "Give me a regex that captures the year in a date"

    excluded = await route(text, "--catalog", CATALOGUE, "--exclude", "regex", "--json")
    none = await route(text, "--catalog", CATALOGUE, "--max-experts", "0", "--json")

    assert json.loads(excluded.out)["abstained"]
    assert json.loads(none.out)["abstained"]
    assert 3 == (await route(text, "--catalog", CATALOGUE, "--force", "nope")).code
    assert 1 == (await route(text, "--catalog", str(tmp_path))).code
    assert 2 == (await route()).code
    assert 2 == (await route("--file", str(tmp_path / "nope.jsonl"))).code


async def test_a_prompt_may_come_from_stdin(route: Any) -> None:
    """Of any size and content."""
    ran = await route("-", "--catalog", CATALOGUE, "--json", stdin="2026-03-14 09:12:44 ERROR regex failed\n" * 2_500)

    assert json.loads(ran.out)["abstained"]

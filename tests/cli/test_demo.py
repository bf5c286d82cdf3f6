"""The demonstration's own rules, over the fake engine; scripts/demo shows the real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from expert_system.cli.demo import CASES, EXPERT, Column
from expert_system.marketplace.store import Store
from expert_system.package.base import describe_base
from expert_system.testing.expert import make_expert

EVERY_FIELD = {
    name: {"string": "x", "integer": 1, "number": 1.5}[kind["type"]]
    for case in CASES
    for name, kind in case.schema["properties"].items()
}


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("no", "not valid JSON"),
        ("{}", "JSON, but not of this schema"),
        ('{"a": "1"}', "JSON, but not of this schema"),
        ('{"a": 1}', "valid JSON"),
    ],
)
def test_a_verdict_looks_at_the_schema(text: str, verdict: str) -> None:
    """Parsing alone is not enough."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}

    assert verdict == Column("t", (), text=text).verdict(schema)


@pytest.mark.parametrize(("answer", "code"), [(json.dumps(EVERY_FIELD), 0), ("no JSON at all", 1)])
async def test_the_exit_code_is_the_experts_verdict(
    answer: str, code: int, cli: Any, demo_program: str, home: Path, tmp_path: Path
) -> None:
    """0 only if every answer of the expert is valid; both answers, the stages and the stop are shown."""
    store = Store(home)
    base = describe_base(home / "bases" / "tiny")
    store.install_dev(make_expert(tmp_path / "demo", base, name=EXPERT))
    store.close()

    ran = await cli(program=demo_program, ANSWER=answer)

    assert (code, "") == (ran.code, ran.err)
    assert ran.out.count("[base alone]") == ran.out.count(f"[base + {EXPERT}]") == len(CASES)
    assert "attach 0.0 ms" in ran.out
    assert "the server has stopped (exit code 0)" in ran.out


async def test_a_server_that_cannot_start_is_told_in_one_line(cli: Any, demo_program: str) -> None:
    """The reason is the last line of the server's log."""
    ran = await cli(program=demo_program, EXPERT_SERVER_HOST="256.256.256.256")

    assert 1 == ran.code
    assert "demo: the server did not start: error: cannot listen on" in ran.err

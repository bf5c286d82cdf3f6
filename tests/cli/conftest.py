"""Running `expert-cli` as a program."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

WITH_FAKE = """
import dataclasses, os, sys
from expert_system import app
from expert_system.package.base import describe_base
from expert_system.testing.engine import FAKE_BASE, FakeEngine
def fake(config):
    digest = describe_base(config.home / "bases" / "tiny").binding
    base = dataclasses.replace(FAKE_BASE, name="tiny", digest=digest)
    return FakeEngine(base=base, token_s=float(os.environ["TOKEN_S"]), answer=os.environ.get("ANSWER"))
app.vllm_engine = fake
from expert_system.cli import main
main(sys.argv[1:])
"""
"""`expert-cli` with the shipped fake where vLLM's engine would be."""

DEMO = """
import sys
from expert_system.cli import demo
demo.SERVE = [sys.executable, "-c", {server!r}, *demo.SERVE[3:]]
demo.main()
"""
"""The demonstration, whose server has the fake engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A program that has ended."""

    code: int
    out: str
    err: str


Cli = Callable[..., Awaitable[Ran]]


def command(*args: str, fake: bool = False) -> list[str]:
    """The words of one command."""
    return [sys.executable, *(["-c", WITH_FAKE] if fake else ["-m", "expert_system.cli"]), *args]


@pytest.fixture
def serve_command() -> list[str]:
    """`expert-cli serve` over the fake engine, on a free port."""
    return command("serve", "--port", "0", "--dev", "--json", fake=True)


@pytest.fixture
def demo_program() -> str:
    """The demonstration over the fake engine."""
    return DEMO.format(server=WITH_FAKE)


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    """The environment of the programs: their own home, no terminal."""
    return {**os.environ, "EXPERT_HOME": str(home), "NO_COLOR": "1", "TERM": "dumb", "TOKEN_S": "0"}


@pytest.fixture
def cli(environment: dict[str, str]) -> Cli:
    """Run `expert-cli` to its end; `stdin` is text, `fake` puts the fake engine in, `program` is run instead, others are environment."""

    async def run(*args: str, stdin: str = "", fake: bool = False, program: str | None = None, **more: str) -> Ran:
        words = command(*args, fake=fake) if program is None else [sys.executable, "-c", program, *args]
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**environment, **more},
        )
        out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
        assert process.returncode is not None
        return Ran(code=process.returncode, out=out.decode(), err=err.decode())

    return run

"""README.md and docs/: every command in them exists, every option is real, every link leads somewhere."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import cache
from pathlib import Path

import pytest

from expert_system.app import Running

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command line of the `sh` blocks, as (where it stands, its words)."""
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                if words := shlex.split(line, comments=True):
                    yield f"{page.name}: {line}", words


COMMANDS = dict(commands())


@cache
def cli_help(*command: str) -> str:
    """What `expert-cli COMMAND --help` prints."""
    done = subprocess.run(
        [ROOT / ".venv/bin/expert-cli", *command, "--help"],
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
        capture_output=True,
        text=True,
    )
    assert 0 == done.returncode, f"expert-cli {' '.join(command)} does not exist: {done.stderr}"
    return done.stdout


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_command_in_the_docs_exists(words: list[str]) -> None:
    """Programs are there, subcommands are known, options are in the help."""
    words = [word for word in words if not re.fullmatch(r"[A-Z_]+=.*", word)]
    program = ROOT / words[0] if "/" in words[0] else shutil.which(words[0], path=PROGRAMS)
    assert program is not None, f"{words[0]} is no program"
    assert os.access(program, os.X_OK), f"{words[0]} is no program"
    options = [word.partition("=")[0] for word in words[1:] if word.startswith("--")]

    if Path(program).parent == ROOT / "scripts":
        usage = Path(program).read_text(encoding="utf-8") if options else ""
        assert [] == [option for option in options if option not in usage]
    elif Path(program).name == "expert-cli":
        # The first words without a dash name the command; `experts list` has two.
        command = tuple(
            words[1:3] if words[1] in {"experts", "config", "trust", "marketplace", "dataset", "router"} else words[1:2]
        )
        known = cli_help(*command)
        assert [] == [option for option in options if option not in known]


def test_the_dry_run_of_the_readme_runs(tmp_path: Path) -> None:
    """The one command that is safe to run anywhere is run as written."""
    words = next(words for where, words in COMMANDS.items() if where == "README.md: scripts/setup --dry-run")

    done = subprocess.run(words, cwd=ROOT, env={**os.environ, "EXPERT_HOME": str(tmp_path)}, capture_output=True)

    assert 0 == done.returncode


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_link_leads_somewhere(page: Path) -> None:
    """Relative links name files of this repository."""
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text(encoding="utf-8"))

    assert [] == [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_the_docs_name_no_machine(page: Path) -> None:
    """Pages speak to any reader: no path of the machine they were written on."""
    assert [] == re.findall(r"/root/\S*|/work/\S*|/tmp/\S*|/opt/(?!rocm)\S*", page.read_text(encoding="utf-8"))


async def test_the_python_of_the_readme_runs(start: Callable[[], AbstractAsyncContextManager[Running]]) -> None:
    """The example is run as written, against a real server in front of the shipped fake engine."""
    [example] = blocks(ROOT / "README.md", "python")

    async with start() as server:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", example.replace("127.0.0.1:50051", server.target)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed, problem = await asyncio.wait_for(program.communicate(), timeout=30)

    assert "" == problem.decode()
    assert "word15 length Timings(" in printed.decode()
    assert printed.decode().endswith("word31")

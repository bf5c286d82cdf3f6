"""The commands of authors and nodes: results on stdout, exit codes as a shell script needs them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from expert_system.cli import main
from expert_system.testing.expert import make_base, make_expert
from expert_system.testing.market import Market, flip_one_byte, git, weights_of


class Shell:
    """Runs expert-cli in this process, for one $EXPERT_HOME."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture
        self.notes = ""

    def run(self, *words: object, exit_code: int = 0) -> str:
        """Run a command; returns what it wrote to stdout."""
        self._capture.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(word) for word in words])
        printed, self.notes = self._capture.readouterr()
        assert exit_code == (caught.value.code or 0), self.notes
        return printed

    def json(self, *words: object, exit_code: int = 0) -> Any:
        """The one JSON value that a command prints with --json."""
        return json.loads(self.run(*words, "--json", exit_code=exit_code))


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """A node with the tiny base and nothing else; afterwards the log goes where it went before."""
    monkeypatch.setenv("EXPERT_HOME", str(tmp_path / "home"))
    make_base(tmp_path / "home" / "bases" / "tiny")
    yield Shell(capsys)
    structlog.reset_defaults()


def test_an_author_gets_from_a_key_to_an_installed_expert(shell: Shell, tmp_path: Path) -> None:
    """mission.md: expert-cli takes authors from a manifest to a signed, published expert."""
    key = shell.json("keygen", tmp_path / "own.key")
    folder = tmp_path / "expert-sql"
    shell.run("new", "sql", folder, "--publisher", "example", "--base", "tiny", "--category", "tech")
    assert "has no adapter_model.safetensors" in (
        shell.run("sign", folder, "--key", tmp_path / "own.key", exit_code=1) or shell.notes
    )
    make_expert(folder, make_base(tmp_path / "home" / "bases" / "tiny"))
    signed = shell.json("sign", folder, "--key", tmp_path / "own.key")
    assert key["keyid"] == signed["keyid"]
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "first")
    git(folder, "tag", "--annotate", "v1.0.0", "--message", "first")

    assert "4.4" in (shell.run("install", folder, exit_code=4) or shell.notes)
    shell.run("trust", "add", tmp_path / "own.pub", "--publisher", "example")
    assert "example" in [entry["publisher"] for entry in shell.json("trust", "list")]
    assert signed["digest"] == shell.json("verify", folder)["digest"]
    assert [signed["digest"]] == [row["digest"] for row in shell.json("install", folder)["installed"]]
    assert [("expert-sql", True, ["tiny"])] == [
        (row["name"], row["verified"], row["loadable_on"]) for row in shell.json("list")
    ]
    assert "expert-sql@1.0.0 by example" in shell.run("info", "sql")
    archive = shell.json("package", folder, "--out", tmp_path)
    assert archive["signed"]
    assert signed["digest"] == shell.json("verify", archive["path"])["digest"]


def test_a_node_updates_rolls_back_verifies_and_cleans_up(shell: Shell, market: Market, tmp_path: Path) -> None:
    """The life of one expert on a node."""
    market.store(tmp_path / "home", with_base=False).close()
    market.publish(version="1.0.0")
    source = market.repository("expert-sql")
    shell.run("install", source)
    market.publish(version="1.1.0")
    assert ["1.1.0"] == [row["version"] for row in shell.json("update")["installed"]]
    assert "1.0.0" == shell.json("rollback", "sql")["version"]
    assert [] == shell.json("update")["installed"]
    shell.run("update", "sql")
    assert "removed expert-sql@1.0.0" in shell.run("gc")
    assert "expert-sql\t1.1.0" in shell.run("verify")
    assert 1 == shell.json("sync")["unchanged"]
    flip_one_byte(weights_of(tmp_path / "home" / "store"))
    assert "4.2" == shell.json("verify", "sql", exit_code=4)[0]["step"]
    shell.run("info", "sql", exit_code=3)
    shell.run("install", source)
    assert "uninstalled expert-sql@1.1.0" in shell.run("uninstall", "sql")
    assert [] == shell.json("list")


@pytest.mark.parametrize(
    ("words", "exit_code"),
    [
        (["info", "nothing"], 3),
        (["uninstall", "nothing"], 3),
        (["verify", "nothing"], 3),
        (["info", "Not A Name"], 2),
        (["install"], 2),
        (["install", "x", "--locked"], 2),
        (["install", "https://127.0.0.1:1/x.git"], 5),
        (["install", "http://example.com/x.git"], 5),
        (["install", "unknown-name"], 1),
        (["install", "--dev", "/nonexistent"], 1),
        (["new", "sql", "--publisher", "x", "--category", "colour", "--base", "tiny"], 2),
        (["trust", "revoke", "abc", "--reason", "x"], 2),
        (["marketplace", "remove", "nothing"], 1),
    ],
)
def test_failures_have_the_exit_codes_of_the_convention(shell: Shell, words: list[str], exit_code: int) -> None:
    """libraries.md: 1 failure, 2 usage, 3 not found, 4 verification, 5 network."""
    assert "" == shell.run(*words, exit_code=exit_code)
    assert shell.notes


def test_a_dev_install_is_marked_unverified_and_says_so(shell: Shell, tmp_path: Path) -> None:
    """formats.md 4: `install --dev` stores a folder marked unverified."""
    folder = make_expert(tmp_path / "own", make_base(tmp_path / "home" / "bases" / "tiny"))
    assert [False] == [row["verified"] for row in shell.json("install", "--dev", folder)["installed"]]
    assert "only a server started with --dev" in shell.notes
    assert [None] == [row["problem"] for row in shell.json("verify")]

"""Paid answers on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from expert_system.errors import ConfigError
from expert_system.training.providers.interface import Reply
from expert_system.training.providers.journal import Journal, Paid


def paid(key: str) -> Paid:
    reply = Reply(text="a\u2028b\nc", finish="stop", model="m", input_tokens=1, output_tokens=2)
    return Paid(key=key, reply=reply, cost=0.5, answered_at="2026-01-01T00:00:00Z", tries=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of two answers."""
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append(paid("one"))
        journal.append(paid("two"))
    return tmp_path / "journal.jsonl"


def test_what_was_kept_is_read_again(path: Path) -> None:
    """Whatever a text holds, it comes back."""
    with Journal(path) as journal:
        assert {"one": paid("one"), "two": paid("two")} == journal.paid
        assert 1.0 == journal.spent


@pytest.mark.parametrize("cut", [1, 7, 60])
def test_a_torn_last_line_is_dropped_and_writing_goes_on(path: Path, cut: int) -> None:
    """A kill in the middle of a write leaves half a line; the answers before it stay."""
    path.write_bytes(path.read_bytes()[:-cut])

    with Journal(path) as journal:
        assert {"one"} == journal.paid.keys()
        journal.append(paid("three"))
    with Journal(path) as journal:
        assert ["one", "three"] == list(journal.paid)


@pytest.mark.parametrize("line", [b"{}", b"not JSON", b'{"key": 1, "reply": 2}', b""])
def test_a_line_that_is_not_ours_is_an_error(path: Path, line: bytes) -> None:
    """Dropping a whole line would mean paying for it again."""
    path.write_bytes(line + b"\n" + path.read_bytes())

    with pytest.raises(ConfigError, match="line 1"), Journal(path):
        pass


def test_two_runs_cannot_share_a_journal(path: Path) -> None:
    """Both would pay."""
    with Journal(path), pytest.raises(ConfigError, match="in use"), Journal(path):
        pass
    with Journal(path) as journal:
        assert 2 == len(journal.paid)

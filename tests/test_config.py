"""Settings: where each value comes from, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from expert_system.config import read
from expert_system.errors import ConfigError


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPERT_HOME", str(tmp_path))


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libraries.md: EXPERT_* over file over default; the command line over all; each source is named."""
    (tmp_path / "config.toml").write_text("[server]\nport = 1\nhost = 'file'\n[engine]\nseed = 1\n")
    monkeypatch.setenv("EXPERT_SERVER_PORT", "2")
    monkeypatch.setenv("EXPERT_ENGINE_SEED", "2")

    found = read(flags={"server.port": 3, "server.grace_s": None})
    rows = {row.key: (row.value, row.source) for row in found.table()}

    assert (3, "command line") == rows["server.port"]
    assert (2, "EXPERT_ENGINE_SEED") == rows["engine.seed"]
    assert ("file", str(tmp_path / "config.toml")) == rows["server.host"]
    assert (30.0, "default") == rows["server.grace_s"]


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("EXPERT_NONSENSE", "1", "EXPERT_NONSENSE names no setting"),
        ("EXPERT_ENGINE_MAX_LORA", "1", "did you mean engine.max_loras"),
        ("EXPERT_SERVER_PORT", "70000", "server.port"),
        ("EXPERT_ENGINE_EXTRA", "{not json", "JSON"),
    ],
)
def test_an_unknown_or_wrong_variable_is_refused(
    variable: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown keys are errors wherever they stand, and the message helps."""
    monkeypatch.setenv(variable, value)

    with pytest.raises(ConfigError, match=expected):
        read()


def test_an_unknown_key_of_the_file_is_refused(tmp_path: Path) -> None:
    """The message names the key, the file, and what was probably meant."""
    file = tmp_path / "own.toml"
    file.write_text("[server]\nprot = 1\n")

    with pytest.raises(ConfigError, match=r"server\.prot \(.*own\.toml\): no such setting; did you mean server\.port"):
        read(file)


def test_a_missing_file_that_was_named_is_refused(tmp_path: Path) -> None:
    """Only the default file may be missing."""
    with pytest.raises(ConfigError, match="does not exist"):
        read(tmp_path / "nowhere.toml")


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token among vLLM's own arguments never prints; limits that end in "tokens" do."""
    monkeypatch.setenv("EXPERT_ENGINE_EXTRA", '{"hf_token": "abc", "max_seq_len_to_capture": 8}')

    rows = {row.key: row.value for row in read().table()}

    assert "********" == rows["engine.extra.hf_token"]
    assert 8 == rows["engine.extra.max_seq_len_to_capture"]
    assert isinstance(rows["engine.max_num_batched_tokens"], int)

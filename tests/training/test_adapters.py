"""Every kind of adapter, trained on a tiny base, is one that PEFT, the package and the engine read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from expert_system.engine.plugin.adapter import BaseShapes
from expert_system.engine.plugin.adapter import read_adapter as read_for_the_engine
from expert_system.errors import ConfigError
from expert_system.package.base import Architecture
from expert_system.package.weights import linear_shapes, read_adapter
from expert_system.training.dataset import VALIDATION
from expert_system.training.encoding import collate, encode, encode_pair
from expert_system.training.install import describe_adapter
from expert_system.training.train import completion_loss
from tests.training.trainkit import (
    HEADS,
    HIDDEN,
    INNER,
    KINDS,
    KV_HEADS,
    LAYERS,
    make_base,
    make_parts,
    make_recipe,
    record,
    run,
)

ARCHITECTURE = Architecture(
    model_type="llama",
    hidden_size=HIDDEN,
    intermediate_size=INNER,
    layers=LAYERS,
    heads=HEADS,
    kv_heads=KV_HEADS,
    head_dim=HIDDEN // HEADS,
    vocabulary=100,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_of_each_kind_is_what_everyone_reads(kind: str, base: Path, tmp_path: Path) -> None:
    """It does something, it scores as run.json says, and PEFT, package and engine accept it."""
    run(make_recipe(kind, epochs=2), base, tmp_path)
    folder = tmp_path / "adapter"
    told = record(tmp_path)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
    held_out = collate([encode(row, tokenizer) for row in make_parts()[VALIDATION].examples], 2)

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), folder)
    loaded = completion_loss(model, held_out, mixed=False).item()
    package = tmp_path / "package"
    (package / "weights").mkdir(parents=True)
    folder.rename(package / "weights" / "tiny")
    declared = describe_adapter(package / "weights" / "tiny", "weights/tiny")
    summary = read_adapter(package, declared, ARCHITECTURE)
    canonical = read_for_the_engine(
        (package / "weights" / "tiny" / "adapter_config.json").read_bytes(),
        (package / "weights" / "tiny" / "adapter_model.safetensors").read_bytes(),
        _shapes(),
        where=kind,
        row_norms=_row_norms(base),
    )

    assert told["best_validation_loss"] == pytest.approx(loaded, rel=0.01)
    assert told["best_validation_loss"] < told["validation_losses"][0][1]
    assert {"rslora": "lora"}.get(kind, kind) == summary.type
    assert canonical
    assert str(base) not in (package / "weights" / "tiny" / "adapter_config.json").read_text()


@pytest.mark.parametrize(("kind", "method"), [("dora", "dpo"), *((kind, "sft") for kind in KINDS)])
def test_bf16_gives_nearly_the_losses_of_fp32(kind: str, method: str, base: Path, tmp_path: Path) -> None:
    """Products in BF16, adapter and optimizer in FP32; activations may be computed twice."""
    exact = run(make_recipe(kind, method=method, dropout=0), base, tmp_path / "fp32")
    mixed = make_recipe(kind, method=method, dropout=0, precision="bfloat16", gradient_checkpointing=True)

    assert exact == pytest.approx(run(mixed, base, tmp_path / "bf16"), rel=0.02)


def _shapes() -> BaseShapes:
    linear = {
        f"model.layers.{layer}.{place}": shape
        for layer in range(LAYERS)
        for place, shape in linear_shapes(ARCHITECTURE).items()
    }
    return BaseShapes(linear=linear, hidden_size=HIDDEN)


def _row_norms(base: Path) -> Any:
    weights = load_file(base / "model.safetensors")
    return lambda module, change: (weights[f"{module}.weight"].float() + change()).norm(dim=1)


def test_vectors_near_one_keep_their_precision(base: Path, tmp_path: Path) -> None:
    """LoRA's matrices are BF16; DoRA's magnitudes are FP32, since BF16 steps by 1/256 near one."""
    run(make_recipe("dora"), base, tmp_path)

    kinds = {name.rpartition(".lora_")[2]: value.dtype for name, value in _saved(tmp_path).items()}

    assert {"A.weight": torch.bfloat16, "B.weight": torch.bfloat16, "magnitude_vector": torch.float32} == kinds


def test_a_soft_prompt_starts_as_its_text(base: Path, tmp_path: Path) -> None:
    """The base's own embeddings, repeated to the length of the prompt."""
    run(make_recipe("soft_prompt", learning_rate=1e-9), base, tmp_path)
    ids = PreTrainedTokenizerFast.from_pretrained(base)("SaySa", add_special_tokens=False)["input_ids"]

    (prompt,) = _saved(tmp_path).values()

    embeddings = load_file(base / "model.safetensors")["model.embed_tokens.weight"]
    assert torch.allclose(embeddings[ids], prompt.float(), rtol=0.01)


def _saved(out: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = load_file(out / "adapter" / "adapter_model.safetensors")
    return tensors


@pytest.mark.parametrize("kind", ["lora", "soft_prompt"])
def test_dpo_learns_to_prefer_and_resumes_exactly(kind: str, base: Path, tmp_path: Path) -> None:
    """The loss starts at ln 2, since the expert starts as its reference, the base; then chosen gains on rejected."""
    recipe = make_recipe(kind, method="dpo", learning_rate=0.02, epochs=2, prompt_text="")

    def stop(step: Any) -> None:
        if step.step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(recipe, base, tmp_path / "cut", stop)
    run(recipe, base, tmp_path / "cut")
    losses = run(recipe, base, tmp_path / "whole")

    assert losses == pytest.approx(record(tmp_path / "cut")["losses"], abs=2e-5)
    assert record(tmp_path / "whole")["best_validation_loss"] < losses[0]
    if kind == "lora":
        assert losses[0] == pytest.approx(0.693147, abs=1e-4)


def test_a_pair_needs_a_rejected_answer(base: Path) -> None:
    """The row is named."""
    row = make_parts()[VALIDATION].examples[0]
    alone = type(row)(messages=row.messages, answer=row.answer, template=row.template)

    with pytest.raises(ConfigError, match="'Say 100' has none"):
        encode_pair(alone, PreTrainedTokenizerFast.from_pretrained(base))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can do both")
@pytest.mark.parametrize("change", [{"quantization": "int4"}, {"packing": True}])
def test_what_needs_a_gpu_is_refused_in_one_sentence(change: dict[str, Any], base: Path, tmp_path: Path) -> None:
    """Before anything is loaded, with the key to change."""
    with pytest.raises(ConfigError, match=f"needs .*GPU.*{next(iter(change))}"):
        run(make_recipe(**change), base, tmp_path)


@pytest.mark.parametrize(
    ("kind", "change", "problem"),
    [
        ("lora", {"r": 0}, "adapter lora needs r"),
        ("lora", {"num_virtual_tokens": 3}, "num_virtual_tokens does not belong to adapter lora"),
        ("ia3", {"r": 8}, "r does not belong to adapter ia3"),
        ("ia3", {"feedforward_modules": ["o_proj"]}, "target_modules does not"),
        (
            "ia3",
            {"target_modules": ["up_proj"], "feedforward_modules": ["up_proj"]},
            "gate_proj and up_proj share their input",
        ),
        ("soft_prompt", {"packing": True}, "without a soft prompt only"),
        ("lora", {"checkpoint_every_s": 301}, "less than or equal to 300"),
        ("lora", {"rank": 8}, "Extra inputs are not permitted"),
    ],
)
def test_options_that_do_not_fit_the_kind_are_refused(kind: str, change: dict[str, Any], problem: str) -> None:
    """A recipe that is read is a recipe that is obeyed: nothing in it is ignored."""
    with pytest.raises(ValidationError, match=problem):
        make_recipe(kind, **change)

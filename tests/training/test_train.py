"""The training loop on a tiny random model, in FP32."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from expert_system.training.data.row import Row
from expert_system.training.dataset import TEST, TRAIN, VALIDATION, Part
from expert_system.training.encoding import IGNORED, Encoded, collate, encode, schedule
from expert_system.training.recipe import Recipe
from expert_system.training.train import RUN, StepReport, completion_loss, learning_rate, train

TEMPLATE = "{% for m in messages %}<s>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tensors this small are slower on several threads, by far when another program runs beside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers that reads single characters."""
    folder = tmp_path_factory.mktemp("base")
    signs = ["<s>", "<a>", "<e>", *map(chr, range(32, 127)), "\n"]
    tokenizer = Tokenizer(models.WordLevel({sign: index for index, sign in enumerate(signs)}, unk_token="<e>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<e>", pad_token="<e>")
    fast.add_special_tokens({"additional_special_tokens": ["<s>", "<a>"]})
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def tiny(recipe: Recipe) -> Recipe:
    """The real recipe, made small; it checkpoints after every step."""
    small: dict[str, Any] = {
        "precision": "float32",
        "r": 4,
        "alpha": 8,
        "batch_size": 2,
        "validate_every_steps": 3,
        "dropout": 0.1,
    }
    small["checkpoint_every_s"] = 1e-9
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=small)})


@pytest.fixture(scope="module")
def small_parts() -> dict[str, Part]:
    def examples(count: int, start: int) -> Part:
        return Part(
            examples=tuple(
                Row(messages=({"role": "user", "content": f"Say {n}"},), answer=f'{{"n": {n}}}', template="f")
                for n in range(start, start + count)
            )
        )

    return {TRAIN: examples(20, 0), VALIDATION: examples(4, 100), TEST: examples(2, 200)}


def run(tiny: Recipe, parts: dict[str, Part], base: Path, out: Path, kill_after: int | None = None) -> list[float]:
    """Train and return the loss of each step."""
    losses: list[float] = []

    def report(step: StepReport) -> None:
        losses.append(step.loss)
        if step.step == kill_after:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        train(tiny, parts, base=base, base_digest="0" * 64, out=out, report=report)
    return losses


def test_a_run_that_was_killed_resumes_with_the_same_losses(
    tiny: Recipe, small_parts: dict[str, Part], base: Path, tmp_path: Path
) -> None:
    """Resume continues exactly: order, optimizer, dropout and schedule, to 1e-5 in FP32."""
    whole = run(tiny, small_parts, base, tmp_path / "whole")
    first = run(tiny, small_parts, base, tmp_path / "cut", kill_after=4)
    torch.rand(10)
    second = run(tiny, small_parts, base, tmp_path / "cut")

    assert 4 == len(first)
    assert whole == pytest.approx(first + second, abs=1e-5)
    assert json.loads((tmp_path / "whole" / RUN).read_text())["losses"] == pytest.approx(
        json.loads((tmp_path / "cut" / RUN).read_text())["losses"], abs=1e-5
    )


def test_training_lowers_the_loss_and_leaves_the_base_alone(
    tiny: Recipe, small_parts: dict[str, Part], base: Path, tmp_path: Path
) -> None:
    """Experts are never merged: the base's file keeps its bytes while the loss falls."""
    before = (base / "model.safetensors").read_bytes()
    eager = tiny.model_copy(
        update={"training": tiny.training.model_copy(update={"epochs": 2, "learning_rate": 0.02, "alpha": 64})}
    )

    losses = run(eager, small_parts, base, tmp_path)

    assert sum(losses[-10:]) < sum(losses[:10])
    assert before == (base / "model.safetensors").read_bytes()


def test_peft_loads_what_was_saved(tiny: Recipe, small_parts: dict[str, Part], base: Path, tmp_path: Path) -> None:
    """`PeftModel.from_pretrained` works on the folder; weights are BF16; the configuration names no path of this machine."""
    run(tiny, small_parts, base, tmp_path)
    adapter = tmp_path / "adapter"

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    weights = load_file(adapter / "adapter_model.safetensors")

    assert {torch.bfloat16} == {tensor.dtype for tensor in weights.values()}
    assert any(bool(tensor.any()) for name, tensor in weights.items() if "lora_B" in name)
    assert 4 == model.peft_config["default"].r
    assert str(base) not in (adapter / "adapter_config.json").read_text()


def test_the_best_weights_are_kept_not_the_last(
    tiny: Recipe, small_parts: dict[str, Part], base: Path, tmp_path: Path
) -> None:
    """The step with the lowest held-out loss is the one that is saved."""
    run(tiny, small_parts, base, tmp_path)

    record = json.loads((tmp_path / RUN).read_text())

    assert [record["best_step"], record["best_validation_loss"]] == min(
        record["validation_losses"], key=lambda row: row[1]
    )


def test_run_json_holds_all_that_is_needed_to_repeat(
    tiny: Recipe, small_parts: dict[str, Part], base: Path, tmp_path: Path
) -> None:
    """formats.md 1.8: recipe, data set, base, software, time."""
    run(tiny, small_parts, base, tmp_path)

    record = json.loads((tmp_path / RUN).read_text())

    assert tiny.model_dump(mode="json") == record["recipe"]
    assert small_parts[TRAIN].sha256 == record["dataset"][TRAIN]["sha256"]
    assert {"torch", "transformers", "peft"} <= record["software"].keys()
    assert 10 == record["steps"] == len(record["losses"])


def test_only_the_completion_is_learned() -> None:
    """Each position before an answer token has it as its label; prompt and padding have none."""
    batch = collate([Encoded(ids=(5, 6, 7, 8, 9), prompt_length=3), Encoded(ids=(5, 6, 7), prompt_length=2)], pad_id=0)

    assert [[5, 6, 7, 8, 9], [5, 6, 7, 0, 0]] == batch["input_ids"].tolist()
    none = IGNORED
    assert [[none, none, 8, 9, none], [none, 7, none, none, none]] == batch["shift_labels"].tolist()


def test_an_example_ends_with_the_end_of_the_turn(base: Path) -> None:
    """The expert learns to stop."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
    example = Row(messages=({"role": "user", "content": "Hi"},), answer="{}", template="f")

    encoded = encode(example, tokenizer)

    assert "<s>Hi<a>" == tokenizer.decode(encoded.ids[: encoded.prompt_length]).replace(" ", "")
    assert tokenizer.eos_token_id == encoded.ids[-1]
    assert encoded.prompt_length + 3 == len(encoded.ids)


def test_padding_does_not_change_the_loss(base: Path) -> None:
    """The loss of a batch is that of its examples: the token mean over rows of any length."""
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), LoraConfig(r=2, task_type="CAUSAL_LM")
    )
    long, short = Encoded(ids=(4, 9, 8, 7, 6, 5), prompt_length=2), Encoded(ids=(4, 9, 8), prompt_length=1)

    together = completion_loss(model, collate([long, short], 2), mixed=False).item()
    alone = [completion_loss(model, collate([row], 2), mixed=False).item() for row in (long, short)]

    assert together == pytest.approx((alone[0] * 4 + alone[1] * 2) / 6, abs=1e-5)


def test_every_example_is_seen_once_an_epoch_in_a_seeded_order() -> None:
    """Batch N is the same batch on every run, and batches hold examples of similar length."""
    rows = [Encoded(ids=tuple(range(1, length + 2)), prompt_length=1) for length in range(50)]

    batches = schedule(rows, batch_size=4, epochs=2, seed=7)

    assert batches == schedule(rows, batch_size=4, epochs=2, seed=7)
    assert batches != schedule(rows, batch_size=4, epochs=2, seed=8)
    assert sorted(2 * [len(row.ids) for row in rows]) == sorted(len(row.ids) for batch in batches for row in batch)
    assert all(max(len(row.ids) for row in batch) - min(len(row.ids) for row in batch) < 8 for batch in batches)


def test_the_learning_rate_rises_then_falls(recipe: Recipe) -> None:
    """Linear warm-up to the peak, half a cosine to a tenth of it."""
    how = recipe.training
    rates = [learning_rate(how, step, 500) for step in range(500)]

    assert how.learning_rate == max(rates)
    assert rates[0] < rates[10] < how.learning_rate
    assert rates[-1] == pytest.approx(how.learning_rate * 0.1, rel=0.01)

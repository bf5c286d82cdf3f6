"""The training loop on a tiny random model, in FP32."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from expert_system.errors import ConfigError
from expert_system.training.data.row import Row
from expert_system.training.dataset import TRAIN, VALIDATION
from expert_system.training.encoding import IGNORED, Encoded, collate, encode, pack, schedule
from expert_system.training.recipe import Recipe
from expert_system.training.steps import learning_rate
from expert_system.training.train import completion_loss
from tests.training.trainkit import make_base, make_parts, make_recipe, record, run, threads


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with threads(1):
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


def test_a_run_that_was_killed_resumes_with_the_same_losses(base: Path, tmp_path: Path) -> None:
    """Resume continues exactly, after a real SIGKILL: order, optimizer, dropout and schedule, to 1e-5 in FP32."""
    recipe = make_recipe()
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    command = [sys.executable, "-m", "tests.training.trainkit", "recipe.json", base, "cut"]
    with subprocess.Popen(
        list(map(str, command)),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        before = [float(program.stdout.readline()) for _ in range(4)]
        program.send_signal(signal.SIGKILL)
        # What it still wrote before the signal came is part of its losses, and perhaps of its checkpoint.
        before += [float(line) for line in program.stdout.read().split()]

    after = run(recipe, base, tmp_path / "cut")
    whole = run(recipe, base, tmp_path / "whole")

    assert -signal.SIGKILL == program.returncode
    assert 4 <= len(before) < 10 == len(whole)
    assert 0 < len(after) < 10
    assert whole[: len(before)] == pytest.approx(before, abs=1e-5)
    assert whole[-len(after) :] == pytest.approx(after, abs=1e-5)
    assert record(tmp_path / "whole")["losses"] == pytest.approx(record(tmp_path / "cut")["losses"], abs=1e-5)
    assert record(tmp_path / "whole")["adapter_sha256"] == record(tmp_path / "cut")["adapter_sha256"]


def test_a_finished_run_is_not_trained_again(base: Path, tmp_path: Path) -> None:
    """Running the same command again gives the same adapter, without a step."""
    recipe = make_recipe()
    run(recipe, base, tmp_path)
    first = record(tmp_path)

    assert [] == run(recipe, base, tmp_path)
    assert first == record(tmp_path)


def test_a_checkpoint_of_another_run_is_refused(base: Path, tmp_path: Path) -> None:
    """A recipe that was changed in between would give a run that nobody can repeat."""
    run(make_recipe(), base, tmp_path)

    with pytest.raises(ConfigError, match="another recipe, data set or base; choose another --out"):
        run(make_recipe(learning_rate=0.002), base, tmp_path)


@pytest.mark.parametrize(
    ("precision", "capability", "told"), [("bfloat16", "AVX2", 1), ("bfloat16", "AVX512", 0), ("float32", "AVX2", 0)]
)
def test_emulated_bf16_is_said(
    precision: str,
    capability: str,
    told: int,
    base: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """decisions/0012: the recipe is followed, but nobody waits several times as long without knowing why."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)

    assert run(make_recipe(precision=precision), base, tmp_path)
    assert told == len([line for line in caplog.messages if "emulates BF16" in line])


def test_no_file_of_a_run_is_a_pickle(base: Path, tmp_path: Path) -> None:
    """contributing: never pickle; a run leaves safetensors and JSON (and PEFT's model card)."""
    run(make_recipe(), base, tmp_path)

    assert {".safetensors", ".json"} == {file.suffix for file in tmp_path.rglob("*.*")} - {".md"}


def test_training_lowers_the_loss_and_leaves_the_base_alone(base: Path, tmp_path: Path) -> None:
    """Experts are never merged: the base's file keeps its bytes while the loss falls."""
    before = (base / "model.safetensors").read_bytes()

    losses = run(make_recipe(epochs=2, learning_rate=0.02, alpha=64), base, tmp_path)

    assert sum(losses[-10:]) < sum(losses[:10])
    assert before == (base / "model.safetensors").read_bytes()


def test_the_best_weights_are_kept_not_the_last(base: Path, tmp_path: Path) -> None:
    """The step with the lowest held-out loss is the one that is saved."""
    run(make_recipe(epochs=3, learning_rate=2.0), base, tmp_path)  # far too fast: it gets worse again

    told = record(tmp_path)
    saved = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "adapter")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
    held_out = [encode(row, tokenizer) for row in make_parts()[VALIDATION].examples]

    assert [told["best_step"], told["best_validation_loss"]] == min(told["validation_losses"], key=lambda row: row[1])
    assert told["best_step"] < told["steps"]
    assert told["best_validation_loss"] == pytest.approx(
        completion_loss(saved, collate(held_out, 2), mixed=False).item(), rel=0.02
    )


def test_run_json_holds_all_that_is_needed_to_repeat(base: Path, tmp_path: Path) -> None:
    """formats.md 1.8: recipe, data set, base, software, time."""
    recipe = make_recipe()
    run(recipe, base, tmp_path)

    told = record(tmp_path)

    assert recipe.model_dump(mode="json") == told["recipe"]
    assert make_parts()[TRAIN].sha256 == told["dataset"][TRAIN]["sha256"]
    assert {"torch", "transformers", "peft", "trl"} <= told["software"].keys()
    assert 10 == told["steps"] == len(told["losses"])


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


def test_packing_changes_nothing_but_the_layout(base: Path) -> None:
    """Attention keeps packed examples apart: their loss is that of the padded batch."""
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), LoraConfig(r=2, task_type="CAUSAL_LM")
    )
    rows = [
        Encoded(ids=(4, 9, 8, 7, 6, 5), prompt_length=2),
        Encoded(ids=(4, 9, 8), prompt_length=1),
        Encoded(ids=(11, 12, 13, 14), prompt_length=2),
    ]

    padded = completion_loss(model, collate(rows, 2), mixed=False).item()
    packed = completion_loss(model, pack(rows), mixed=False).item()

    assert (1, 13) == pack(rows)["input_ids"].shape
    assert padded == pytest.approx(packed, abs=1e-5)

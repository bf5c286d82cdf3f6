"""Train an expert's adapter: TRL's trainers with our batches, our loss and our checkpoints.

    recipe + data set + base -> adapter on a frozen base -> steps, held-out scores, checkpoints -> best adapter + run.json

Promise: the base is never modified, the loss sees the answers only, and a run that was
killed and resumed takes the same steps as one that was not. CPU and GPU run the same code.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from peft.helpers import disable_input_dtype_casting
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, PrinterCallback
from transformers.utils.logging import disable_progress_bar
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from expert_system.errors import ConfigError
from expert_system.processor import emulates_bf16
from expert_system.training.adapters import (
    CPU,
    CUDA,
    WEIGHTS_FILE,
    choose_device,
    load_base,
    peft_config,
    save_adapter,
    start_prompt,
)
from expert_system.training.checkpoint import Progress, RunState
from expert_system.training.dataset import TEST, TRAIN, VALIDATION, Part
from expert_system.training.dora_norm import factor_norms
from expert_system.training.encoding import (
    IGNORED,
    Encoded,
    Inputs,
    Pair,
    collate,
    encode,
    encode_pair,
    pack,
    schedule,
)
from expert_system.training.recipe import LOW_RANK
from expert_system.training.replicas import Replica, count_replicas, start_replicas
from expert_system.training.speed import compile_layers, keep_freed_memory
from expert_system.training.steps import StepReport, Steps, learning_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from expert_system.training.recipe import Recipe, TrainingRecipe

CHECKPOINT = "checkpoint.safetensors"
ADAPTER = "adapter"
RUN = "run.json"
LIBRARIES = ("torch", "transformers", "peft", "trl", "accelerate", "safetensors", "tokenizers")


def train(
    recipe: Recipe,
    parts: Mapping[str, Part],
    *,
    base: Path,
    base_digest: str,
    out: Path,
    report: Callable[[StepReport], None],
) -> Path:
    """Train an adapter, or continue the run whose checkpoint lies in `out`.

    Args:
        recipe: how to train.
        parts: the data set.
        base: folder of the base model.
        base_digest: what the base's tensors hash to; recorded.
        out: folder of checkpoints and results; made when missing.
        report: called after every step; what it raises ends the run, which can then be resumed.

    Returns:
        The folder of the finished adapter in PEFT's layout; `run.json` beside it is written last.

    Raises:
        ConfigError: this machine cannot do what the recipe asks, or `out` holds another run.
    """
    out.mkdir(parents=True, exist_ok=True)
    device = choose_device(recipe.training)
    if device == CPU and recipe.training.precision == "bfloat16" and _cpu_emulates_bf16():
        logging.getLogger(__name__).warning(
            'this processor emulates BF16, which takes several times as long; "precision": "float32" avoids it'
        )
    run = _Run(recipe=recipe, parts=parts, base=base, base_digest=base_digest, device=device, out=out)
    with start_replicas(count_replicas(recipe.training, device), _follow, run) as replica:
        _take_steps(run, report, replica)
    return out / ADAPTER


def _cpu_emulates_bf16() -> bool:
    return emulates_bf16(machine=platform.machine(), capability=torch.backends.cpu.get_cpu_capability())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What all replicas share."""

    recipe: Recipe
    parts: Mapping[str, Part]
    base: Path
    base_digest: str
    device: str
    out: Path


def _follow(replica: Replica, run: _Run) -> None:
    """Take every step with replica 0, silently."""
    disable_progress_bar()
    _take_steps(run, lambda _: None, replica)


def _take_steps(run: _Run, report: Callable[[StepReport], None], replica: Replica) -> None:
    """Train as one of the replicas; replica 0 writes what comes of it."""
    how, parts = run.recipe.training, run.parts
    if run.device == CPU:
        keep_freed_memory()
    tokenizer = AutoTokenizer.from_pretrained(run.base)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    to_ids: Callable[..., Any] = encode_pair if how.method == "dpo" else encode
    rows = {name: [to_ids(row, tokenizer) for row in parts[name].examples] for name in (TRAIN, VALIDATION)}
    batches = schedule(rows[TRAIN], how.batch_size, how.epochs, how.seed)

    trainer_of: Callable[..., Any] = _preference_trainer if how.method == "dpo" else _answer_trainer
    base = load_base(how, run.base, run.device)
    trainer = trainer_of(how, base, tokenizer, rows[TRAIN], _arguments(how, run.out, run.device))
    if how.adapter == "dora":
        factor_norms(trainer.model)
    if how.compile:
        compile_layers(trainer.model)
    parameters = {name: value for name, value in trainer.model.named_parameters() if value.requires_grad}
    for value in parameters.values():
        value.data = value.data.float()
    if how.prompt_text:
        start_prompt(trainer.model, tokenizer, how.prompt_text)
    optimizer = torch.optim.AdamW(parameters.values(), lr=how.learning_rate, weight_decay=how.weight_decay, fused=True)

    state = RunState(
        path=run.out / CHECKPOINT,
        parameters=parameters,
        optimizer=optimizer,
        progress=Progress(run=_run_name(run)),
    )
    state.load()
    start = state.progress.step
    trainer.batches, trainer.args.max_steps = batches[start:], len(batches) - start
    trainer.optimizer, trainer.replica = optimizer, replica
    trainer.lr_scheduler = LambdaLR(
        optimizer, lambda step: learning_rate(how, start + step, len(batches)) / how.learning_rate
    )
    held_out = schedule(rows[VALIDATION], how.batch_size, 1, how.seed)
    trainer.add_callback(Steps(how, state, trainer, batches, held_out, report))
    # Autocast chooses each product's type; the round trip of PEFT's LoRA layers through FP32 costs a seventh and
    # changes no value. Off for the whole run: activations that are computed twice must come out alike.
    casts = how.precision == "bfloat16" and how.adapter in LOW_RANK
    with disable_input_dtype_casting(trainer.model, active=casts):
        if trainer.batches:
            replica.join()
            replica.average(list(parameters.values()), 1.0)  # the same start everywhere, however it was drawn
            trainer.train()

    if replica.index == 0:
        save_adapter(trainer.model.peft_config["default"], state.best, run.out / ADAPTER, how.base)
        _write_run(run, state.progress, replica.count)


def mean_cross_entropy(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in FP32 of logits (tokens, vocabulary) against token ids (tokens)."""
    return cross_entropy(logits.float(), wanted)


def completion_loss(
    model: Any, inputs: Inputs, *, mixed: bool, score: Callable[..., torch.Tensor] = mean_cross_entropy
) -> torch.Tensor:
    """Mean cross-entropy of the completion tokens; only their positions reach the output layer.

    Args:
        model: a PEFT model.
        inputs: what `collate` or `pack` made.
        mixed: compute products in BF16.
        score: `mean_cross_entropy`, compiled or not.
    """
    base, ids, labels = model.get_base_model(), inputs["input_ids"], inputs["shift_labels"]
    with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=mixed):
        embedded = base.get_input_embeddings()(ids)
        virtual = 0
        if model.active_peft_config.is_prompt_learning:
            prompt = model.get_prompt(batch_size=len(ids)).to(embedded.dtype)
            virtual = prompt.shape[1]
            embedded = torch.cat([prompt, embedded], dim=1)
        # Padding stands on the right, where causal attention never looks: no mask of ours is needed.
        # Packed rows are kept apart by their positions.
        hidden = base.get_decoder()(
            inputs_embeds=embedded, position_ids=inputs.get("position_ids"), use_cache=False
        ).last_hidden_state[:, virtual:]
        wanted = labels != IGNORED
        logits = base.get_output_embeddings()(hidden[wanted])
    return score(logits, labels[wanted])


class _OurBatches:
    """What both trainers share: the batches of the run, in its order."""

    batches: Sequence[Sequence[Any]]
    """Those still to be trained on."""
    replica: Replica
    last_loss = float("nan")

    def get_train_dataloader(self: Any) -> DataLoader:
        shares = [self.replica.share(batch) for batch in self.batches]
        self.weights = iter([self.weight(share) for share in shares])
        # A replica without a row computes one of them and counts it nothing, so that it has gradients to send.
        rows = [share or batch[:1] for share, batch in zip(shares, self.batches, strict=True)]
        # With a generator of its own, since a loader draws a seed when it starts: that would shift a resumed run.
        return DataLoader(rows, batch_size=None, collate_fn=self.data_collator, generator=torch.Generator())

    def training_step(self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(*args, **kwargs)  # type: ignore[misc]
        gradients = [value.grad for value in self.model.parameters() if value.grad is not None]
        self.replica.average([*gradients, loss], next(self.weights))
        self.last_loss = loss.item()
        self._metrics["train"].clear()  # TRL collects them for a log that nobody reads
        return loss


class AnswerTrainer(_OurBatches, SFTTrainer):
    """TRL's SFTTrainer; its own loss scores every position of the vocabulary where there is no GPU."""

    score = staticmethod(mean_cross_entropy)

    def compute_loss(self, model: Any, inputs: Inputs, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The loss of one batch."""
        return completion_loss(self.accelerator.unwrap_model(model), inputs, mixed=self.args.bf16, score=self.score)

    def weight(self, batch: Sequence[Encoded]) -> int:
        """What a batch counts in the held-out score: its completion tokens."""
        return sum(row.length - row.prompt_length for row in batch)


class PreferenceTrainer(_OurBatches, DPOTrainer):
    """TRL's DPOTrainer; its reference is the base, with the adapter switched off."""

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset  # tokens already, under the same rules as for sft

    def weight(self, batch: Sequence[Pair]) -> int:
        """What a batch counts in the held-out score: its pairs."""
        return len(batch)


def _arguments(how: TrainingRecipe, out: Path, device: str) -> dict[str, Any]:
    """What both trainers are told; saving, scoring and reporting is ours."""
    return {
        "output_dir": str(out),
        "per_device_train_batch_size": how.batch_size,
        "max_grad_norm": how.max_grad_norm,
        "seed": how.seed,
        "bf16": how.precision == "bfloat16",
        "use_cpu": device == CPU,
        "gradient_checkpointing": how.gradient_checkpointing,
        "max_length": None,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def _answer_trainer(
    how: TrainingRecipe, base: Any, tokenizer: Any, rows: Sequence[Encoded], arguments: dict[str, Any]
) -> AnswerTrainer:
    def collator(batch: Sequence[Encoded]) -> Inputs:
        return pack(batch) if how.packing else collate(batch, tokenizer.pad_token_id)

    trainer = AnswerTrainer(
        model=base,
        args=SFTConfig(**arguments, dataset_kwargs={"skip_prepare_dataset": True}),
        data_collator=collator,
        train_dataset=Dataset.from_dict({"input_ids": [row.ids for row in rows]}),
        processing_class=tokenizer,
        peft_config=peft_config(how),
    )
    if how.compile:
        trainer.score = torch.compile(mean_cross_entropy, dynamic=True)
    return _quiet(trainer)


def _preference_trainer(
    how: TrainingRecipe, base: Any, tokenizer: Any, rows: Sequence[Pair], arguments: dict[str, Any]
) -> PreferenceTrainer:
    padded = DataCollatorForPreference(pad_token_id=tokenizer.pad_token_id)

    def columns(pair: Pair) -> dict[str, list[int]]:
        return {
            "prompt_ids": list(pair.prompt),
            "chosen_ids": list(pair.chosen),
            "rejected_ids": list(pair.rejected),
        }

    return _quiet(
        PreferenceTrainer(
            model=base,
            args=DPOConfig(**arguments, beta=how.beta),
            data_collator=lambda batch: padded([columns(pair) for pair in batch]),
            train_dataset=Dataset.from_list([columns(pair) for pair in rows]),
            processing_class=tokenizer,
            peft_config=peft_config(how),
        )
    )


def _quiet(trainer: Any) -> Any:
    """Without the callback that prints; and on one device, since our loss goes around the wrappers for several."""
    trainer.remove_callback(PrinterCallback)
    if trainer.args.world_size > 1:
        raise ConfigError("training runs on one device; start it without torchrun or accelerate launch")
    return trainer


def _run_name(run: _Run) -> str:
    """What tells this run from another: recipe, data and base."""
    data = [run.parts[name].sha256 for name in (TRAIN, VALIDATION)]
    told = [run.recipe.training.model_dump(mode="json"), run.base_digest, *data]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _write_run(run: _Run, progress: Progress, processes: int) -> None:
    """Record everything needed to repeat the run."""
    weights = (run.out / ADAPTER / WEIGHTS_FILE).read_bytes()
    told = {
        "recipe": run.recipe.model_dump(mode="json"),
        "base_digest": run.base_digest,
        "dataset": {
            name: {"count": len(run.parts[name].examples), "sha256": run.parts[name].sha256}
            for name in (TRAIN, VALIDATION, TEST)
        },
        "adapter_sha256": hashlib.sha256(weights).hexdigest(),
        "steps": progress.step,
        "best_step": progress.best_step,
        "best_validation_loss": progress.best_validation_loss,
        "tokens": progress.tokens,
        "wall_time_s": round(progress.trained_s, 1),
        "device": torch.cuda.get_device_name() if run.device == CUDA else CPU,
        "cores": os.cpu_count(),
        "processes": processes,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "software": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        "validation_losses": progress.validation_losses,
        "losses": [round(loss, 5) for loss in progress.losses],
    }
    (run.out / RUN).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")

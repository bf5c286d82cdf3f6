"""Train an expert's adapter: one loop, top to bottom.

    recipe + data set + base -> LoRA on a frozen base -> checkpoints -> best adapter + run.json

Promise: the base is never modified, the loss sees the answers only, and a run that was
killed and resumed takes the same steps as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

from expert_system.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from expert_system.training.dataset import TEST, TRAIN, VALIDATION, Part
from expert_system.training.encoding import IGNORED, Batch, Encoded, collate, encode, schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from expert_system.training.recipe import Recipe, TrainingRecipe

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"
ADAPTER = "adapter"
RUN = "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What a caller may show after a step."""

    step: int
    steps: int
    loss: float
    validation_loss: float | None
    learning_rate: float
    tokens_per_s: float
    remaining_s: float


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
    """
    how = recipe.training
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(how.seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = _adapted_model(how, base)
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    optimizer = torch.optim.AdamW(parameters.values(), lr=how.learning_rate, weight_decay=how.weight_decay)

    batches = schedule(
        [encode(example, tokenizer) for example in parts[TRAIN].examples], how.batch_size, how.epochs, how.seed
    )
    held_out = [encode(example, tokenizer) for example in parts[VALIDATION].examples]
    progress = Progress()
    if (out / CHECKPOINT).exists():
        progress = load_checkpoint(out / CHECKPOINT, parameters, optimizer)

    started = saved = time.monotonic()
    trained_before_s, tokens_before = progress.trained_s, progress.tokens
    model.train()
    while progress.step < len(batches):
        batch = collate(batches[progress.step], tokenizer.pad_token_id)
        rate = learning_rate(how, progress.step, len(batches))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = completion_loss(model, batch, how.precision)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters.values(), how.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()

        progress.step += 1
        progress.tokens += batch.tokens
        progress.losses.append(loss.item())
        validation_loss = None
        if progress.step % how.validate_every_steps == 0 or progress.step == len(batches):
            validation_loss = mean_loss(model, held_out, how, tokenizer.pad_token_id)
            progress.validation_losses.append((progress.step, validation_loss))
            if validation_loss < progress.best_validation_loss:
                progress.best_validation_loss, progress.best_step = validation_loss, progress.step
                _write_aside(get_peft_model_state_dict(model), out / BEST)
        now = time.monotonic()
        progress.trained_s = trained_before_s + now - started
        pace = (progress.tokens - tokens_before) / (now - started)
        if now - saved > how.checkpoint_every_s:
            save_checkpoint(out / CHECKPOINT, parameters, optimizer, progress)
            saved = now
        report(
            StepReport(
                step=progress.step,
                steps=len(batches),
                loss=loss.item(),
                validation_loss=validation_loss,
                learning_rate=rate,
                tokens_per_s=pace,
                remaining_s=sum(len(row.ids) for rest in batches[progress.step :] for row in rest) / pace,
            )
        )

    adapter = _save_adapter(model, out, how.base)
    _write_run(out, adapter, recipe, parts, progress, base_digest)
    return adapter


def _adapted_model(how: TrainingRecipe, base: Path) -> Any:
    """The frozen base with fresh FP32 adapter weights."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, how.precision))
    config = LoraConfig(
        r=how.r,
        lora_alpha=how.alpha,
        lora_dropout=how.dropout,
        target_modules=list(how.target_modules),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def learning_rate(how: TrainingRecipe, step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine down to a tenth of the peak."""
    warmup = max(1, round(how.warmup_share * steps))
    if step < warmup:
        return how.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return how.learning_rate * (0.1 + 0.9 * (1 + math.cos(math.pi * done)) / 2)


def completion_loss(model: Any, batch: Batch, precision: str) -> torch.Tensor:
    """Mean cross-entropy of the completion tokens; only their positions reach the output layer."""
    base = model.get_base_model()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        # Padding stands on the right, where causal attention never looks: no mask, so the fast kernel is used.
        hidden = base.get_decoder()(input_ids=batch.ids, use_cache=False).last_hidden_state
        wanted = batch.labels != IGNORED
        logits = base.get_output_embeddings()(hidden[wanted])
    return cross_entropy(logits.float(), batch.labels[wanted])


@torch.no_grad()
def mean_loss(model: Any, rows: list[Encoded], how: TrainingRecipe, pad_id: int) -> float:
    """Mean loss of held-out rows, each completion token weighted alike."""
    model.eval()
    by_length = sorted(rows, key=lambda row: len(row.ids))
    total, count = 0.0, 0
    for start in range(0, len(by_length), how.batch_size):
        batch = collate(by_length[start : start + how.batch_size], pad_id)
        tokens = int((batch.labels != IGNORED).sum())
        total += completion_loss(model, batch, how.precision).item() * tokens
        count += tokens
    model.train()
    return total / count


def _write_aside(tensors: dict[str, torch.Tensor], path: Path) -> None:
    aside = path.with_suffix(".partial")
    save_file({name: value.detach().contiguous() for name, value in tensors.items()}, aside, metadata={"format": "pt"})
    aside.replace(path)


def _save_adapter(model: Any, out: Path, base_name: str) -> Path:
    """Write the best weights in BF16, as `PeftModel.from_pretrained` reads them."""
    folder = out / ADAPTER
    folder.mkdir(exist_ok=True)
    best = load_file(out / BEST)
    _write_aside({name: value.to(torch.bfloat16) for name, value in best.items()}, folder / "adapter_model.safetensors")
    config = model.peft_config["default"]
    config.inference_mode = True
    config.target_modules = sorted(config.target_modules)  # PEFT keeps a set, whose order changes from run to run
    config.base_model_name_or_path = base_name
    config.save_pretrained(folder)
    return folder


def _write_run(
    out: Path, adapter: Path, recipe: Recipe, parts: Mapping[str, Part], progress: Progress, base_digest: str
) -> None:
    """Record everything needed to repeat the run."""
    weights = (adapter / "adapter_model.safetensors").read_bytes()
    run = {
        "recipe": recipe.model_dump(mode="json"),
        "base_digest": base_digest,
        "dataset": {
            name: {"count": len(parts[name].examples), "sha256": parts[name].sha256}
            for name in (TRAIN, VALIDATION, TEST)
        },
        "adapter_sha256": hashlib.sha256(weights).hexdigest(),
        "steps": progress.step,
        "best_step": progress.best_step,
        "best_validation_loss": progress.best_validation_loss,
        "tokens": progress.tokens,
        "wall_time_s": round(progress.trained_s, 1),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "software": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "peft", "safetensors", "tokenizers")},
        },
        "validation_losses": progress.validation_losses,
        "losses": [round(loss, 5) for loss in progress.losses],
    }
    (out / RUN).write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")

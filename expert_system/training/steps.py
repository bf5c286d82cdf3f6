"""What happens between two steps of training: record, held-out score, checkpoint, report.

    batches + the trainer's loss -> RunState (progress, best weights, checkpoint) -> StepReport

Promise: nothing here changes what the next step computes, so scoring and saving can be as frequent as one likes.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from peft.utils import get_peft_model_state_dict
from transformers import TrainerCallback

from expert_system.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from expert_system.training.checkpoint import RunState
    from expert_system.training.encoding import Sized
    from expert_system.training.recipe import TrainingRecipe


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


def learning_rate(how: TrainingRecipe, step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine down to a tenth of the peak."""
    warmup = max(1, round(how.warmup_share * steps))
    if step < warmup:
        return how.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return how.learning_rate * (0.1 + 0.9 * (1 + math.cos(math.pi * done)) / 2)


class Steps(TrainerCallback):
    """What happens between two steps: record, held-out score, checkpoint, report."""

    def __init__(
        self,
        how: TrainingRecipe,
        state: RunState,
        trainer: Any,
        batches: Sequence[Sequence[Sized]],
        held_out: Sequence[Sequence[Sized]],
        report: Callable[[StepReport], None],
    ) -> None:
        self.how, self.state, self.trainer, self.report, self.held_out = how, state, trainer, report, held_out
        self.seen = list(accumulate((sum(row.length for row in batch) for batch in batches), initial=0))
        self.first_step, self.trained_before_s = state.progress.step, state.progress.trained_s
        self.started = self.saved = time.monotonic()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Continue a resumed run's random numbers, after all that TRL drew to set itself up."""
        self.state.restore_random()
        self.started = self.saved = time.monotonic()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Take note of the step that was made.

        Raises:
            ConfigError: the loss is not a number any more, so nothing after it can be of use.
        """
        progress, steps = self.state.progress, len(self.seen) - 1
        progress.step += 1
        if not math.isfinite(self.trainer.last_loss):
            raise ConfigError(f"the loss of step {progress.step} is not a number; lower learning_rate in the recipe")
        progress.tokens = self.seen[progress.step]
        progress.losses.append(self.trainer.last_loss)
        validation_loss = None
        if progress.step % self.how.validate_every_steps == 0 or progress.step == steps:
            validation_loss = self._held_out_loss()
            progress.validation_losses.append((progress.step, validation_loss))
            if validation_loss < progress.best_validation_loss:
                progress.best_validation_loss, progress.best_step = validation_loss, progress.step
                weights = get_peft_model_state_dict(self.trainer.model)
                self.state.best = {name: value.detach().cpu().clone() for name, value in weights.items()}
        now = time.monotonic()
        progress.trained_s = self.trained_before_s + now - self.started
        if self.trainer.replica.index == 0 and (
            progress.step == steps or now - self.saved > self.how.checkpoint_every_s
        ):
            self.state.save()
            self.saved = now
        pace = (progress.tokens - self.seen[self.first_step]) / (now - self.started)
        self.report(
            StepReport(
                step=progress.step,
                steps=steps,
                loss=progress.losses[-1],
                validation_loss=validation_loss,
                learning_rate=learning_rate(self.how, progress.step - 1, steps),
                tokens_per_s=pace,
                remaining_s=(self.seen[-1] - progress.tokens) / pace,
            )
        )

    @torch.no_grad()
    def _held_out_loss(self) -> float:
        """Mean loss of the held-out rows, each completion token (or pair) weighted alike."""
        trainer = self.trainer
        trainer.model.eval()
        total, count = 0.0, 0
        for share in filter(None, map(trainer.replica.share, self.held_out)):
            inputs = {name: value.to(trainer.args.device) for name, value in trainer.data_collator(share).items()}
            weight = trainer.weight(share)
            total += trainer.compute_loss(trainer.model, inputs).item() * weight
            count += weight
        trainer.model.train()
        mean = torch.tensor(total / max(1, count), dtype=torch.float64)
        trainer.replica.average([mean], count)
        return mean.item()

"""Train the encoder: first to agree with the whole MiniLM, then to bring prompts to the experts that are right for them.

    texts + teacher -> distil -> examples x experts' descriptors -> contrast, heads -> RouterModel

Promise: the same recipe, data and number of threads give the same model; a prompt whose expert is not among those shown
is trained to be near none of them, so "no expert" needs no expert of its own.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from expert_system.training.router.corpus import Corpus, Expert, Role
from expert_system.training.router.examples import Example
from expert_system.training.router.labels import Labels, targets_of
from expert_system.training.router.model import TEACHER_LAYERS, RouterModel, Source
from expert_system.training.router.reader import Reader, in_groups
from expert_system.training.speed import keep_freed_memory

SHOWN = (Role.OFFICIAL, Role.TRAIN, Role.PRACTICE)
"""Experts that training may show."""
FIRST_WORD, WORDS = 1_996, 29_000
"""Rows of the vocabulary that hold words and parts of words."""
BEGIN, END = 101, 102
"""[CLS] and [SEP]."""
REPLACED = 0.4
"""Share of a prompt's tokens that others at random stand for, in texts to distil."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides what is learned."""

    layers: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    """Layers of MiniLM that are kept."""
    dimension: int = 128
    max_tokens: int = 64
    bfloat16: bool = True
    """Of products; weights and optimiser are FP32."""
    distil_steps: int = 120
    """Where layers are left out; the whole MiniLM agrees with itself."""
    steps: int = 1_000
    batch: int = 64
    experts: int = 64
    """Experts shown in a step."""
    descriptors: int = 2
    """Descriptors of each that are shown."""
    hidden_share: float = 0.15
    """Experts right for a prompt of the batch that are not shown, so that it learns to be near none."""
    scale: float = 20.0
    """Multiplies cosines before the softmax."""
    learning_rate: float = 1e-4
    head_learning_rate: float = 2e-3
    distil_learning_rate: float = 5e-4
    head_weight: float = 0.5
    distil_weight: float = 1.0
    seed: int = 20261122


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Where training stands."""

    stage: str
    step: int
    steps: int
    loss: float
    seconds: float


class Trainer:
    """One training, from a source to a model."""

    def __init__(
        self,
        recipe: Recipe,
        source: Source,
        reader: Reader,
        corpus: Corpus,
        labels: Labels,
        examples: Sequence[Example],
    ) -> None:
        """Load the pretrained layers and read all texts once."""
        torch.manual_seed(recipe.seed)
        keep_freed_memory()
        self._recipe = recipe
        self._chance = random.Random(recipe.seed)
        self._experts = [e for e in corpus.experts.values() if e.role in SHOWN]
        self._descriptors = [[reader.ids(text) for text in descriptors(expert)] for expert in self._experts]
        self._prompts = [reader.prompt_ids(example.text) for example in examples]
        row = {expert.name: place for place, expert in enumerate(self._experts)}
        self._right = [[row[name] for name in example.experts] for example in examples]
        targets = [targets_of(example, corpus, labels) for example in examples]
        self._targets = {head: torch.from_numpy(np.stack([found[head] for found in targets])) for head in labels}
        self._teacher = source.trunk(range(TEACHER_LAYERS)).eval()
        self.model = RouterModel(layers=len(recipe.layers), dimension=recipe.dimension, labels=labels)
        self.model.trunk = source.trunk(recipe.layers)
        self._to_small = self._principal_axes()
        with torch.no_grad():
            self.model.projection.weight.copy_(self._to_small)
        # Words that our topics do not use keep what the teacher knows of them; without layers nothing else could learn.
        self.model.trunk.positions.requires_grad_(False)
        self.model.trunk.words.requires_grad_(not recipe.layers)
        self._bar = torch.nn.Parameter(torch.tensor(0.45))

    def run(self, report: Callable[[Report], None]) -> RouterModel:
        """Distil where layers are missing, then contrast."""
        recipe = self._recipe
        if len(recipe.layers) < TEACHER_LAYERS:
            self._stage(
                "distil",
                recipe.distil_steps,
                recipe.distil_learning_rate,
                lambda: self._distil_loss(max(1, recipe.batch // 4)),
                report,
            )
        self._stage("contrast", recipe.steps, recipe.learning_rate, self._loss, report)
        return self.model.eval()

    def _stage(
        self, stage: str, steps: int, rate: float, loss_of: Callable[[], Tensor], report: Callable[[Report], None]
    ) -> None:
        heads = [*self.model.heads.parameters(), self._bar]
        fast = {id(parameter) for parameter in heads}
        slow = [p for p in self.model.parameters() if p.requires_grad and id(p) not in fast]
        groups = [{"params": slow, "lr": rate}, {"params": heads, "lr": self._recipe.head_learning_rate}]
        optimiser = torch.optim.AdamW(groups, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _warm_then_down(step, steps))
        self.model.train()
        started = time.perf_counter()
        for step in range(1, steps + 1):
            with torch.autocast("cpu", torch.bfloat16, enabled=self._recipe.bfloat16):
                loss = loss_of()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            seconds = time.perf_counter() - started
            report(Report(stage=stage, step=step, steps=steps, loss=float(loss.detach()), seconds=seconds))

    def _loss(self) -> Tensor:
        recipe, chance = self._recipe, self._chance
        places = chance.sample(range(len(self._prompts)), min(recipe.batch, len(self._prompts)))
        shown = self._shown(places)
        model = self.model
        pooled = in_groups(model.trunk, [self._prompts[place] for place in places])
        texts = [ids for row in shown for ids in self._some_descriptors(row)]
        described = model.embedded(in_groups(model.trunk, texts)).view(len(shown), recipe.descriptors, -1)
        cosines = torch.einsum("bd,ekd->bek", model.embedded(pooled), described).amax(-1)
        right = torch.zeros(len(places), len(shown))
        column = {row: place for place, row in enumerate(shown)}
        for line, place in enumerate(places):
            for row in self._right[place]:
                if row in column:
                    right[line, column[row]] = 1.0
        loss = _contrast(cosines, right, self._bar, recipe.scale)
        for head, found in model.logits(pooled).items():
            loss = loss + recipe.head_weight * functional.cross_entropy(found, self._targets[head][places])
        return loss + recipe.distil_weight * self._distil_loss(max(1, recipe.batch // 8))

    def _shown(self, places: Sequence[int]) -> list[int]:
        """Rows of the experts of this step: those that are right, less a few, and others up to the number."""
        recipe, chance = self._recipe, self._chance
        right = sorted({row for place in places for row in self._right[place]})
        hidden = {row for row in right if chance.random() < recipe.hidden_share}
        others = [row for row in range(len(self._experts)) if row not in right]
        more = max(0, min(len(others), recipe.experts - len(right)))
        return [row for row in right if row not in hidden] + chance.sample(others, more)

    def _some_descriptors(self, row: int) -> list[list[int]]:
        return self._chance.sample(self._descriptors[row], self._recipe.descriptors)

    def _distil_loss(self, share: int) -> Tensor:
        texts = self._texts_to_distil(share)
        with torch.no_grad():
            wanted = functional.normalize(in_groups(self._teacher, texts) @ self._to_small.T, dim=-1)
        found = self.model.embedded(in_groups(self.model.trunk, texts))
        return 4.0 * (1.0 - (found * wanted).sum(-1)).mean()

    def _texts_to_distil(self, share: int) -> list[list[int]]:
        """Prompts, descriptors and words at random: the last keep what the teacher knows beyond our topics."""
        chance = self._chance
        texts = [chance.choice(self._prompts) for _ in range(share)]
        texts += [chance.choice(chance.choice(self._descriptors)) for _ in range(share)]
        for _ in range(share):
            prompt = chance.choice(self._prompts)
            inner = [
                chance.randrange(FIRST_WORD, WORDS) if chance.random() < REPLACED else token for token in prompt[1:-1]
            ]
            texts.append([prompt[0], *inner, prompt[-1]])
        texts += [
            [BEGIN, *(chance.randrange(FIRST_WORD, WORDS) for _ in range(chance.randint(2, 10))), END]
            for _ in range(share)
        ]
        return texts

    @torch.no_grad()
    def _principal_axes(self) -> Tensor:
        """(dimension, hidden): the directions in which the teacher's embeddings of our texts differ most."""
        chance = random.Random(self._recipe.seed)
        texts = [ids for group in self._descriptors for ids in group]
        texts += chance.sample(self._prompts, min(len(self._prompts), 1_000))
        rows = in_groups(self._teacher, texts)
        _, _, axes = torch.linalg.svd(functional.normalize(rows, dim=-1), full_matrices=True)
        return axes[: self._recipe.dimension].contiguous()


def descriptors(expert: Expert) -> tuple[str, ...]:
    """What is embedded of an expert, and its keywords, which teach the encoder that words stand for topics."""
    return (expert.description, *expert.examples, ", ".join(expert.keywords))


def _contrast(cosines: Tensor, right: Tensor, bar: Tensor, scale: float) -> Tensor:
    """Softmax over the experts shown and the bar; and each pair's own yes or no against the bar.

    Args:
        cosines: (b, e).
        right: (b, e), 1 where the expert is right for the prompt.
        bar: the cosine at which "no expert" stands.
        scale: multiplies cosines.
    """
    none = bar.expand(len(cosines), 1)
    wanted = torch.cat([right, (right.sum(1, keepdim=True) == 0).to(right.dtype)], dim=1)
    wanted = wanted / wanted.sum(1, keepdim=True)
    ranked = functional.cross_entropy(scale * torch.cat([cosines, none], dim=1), wanted)
    pairs = functional.binary_cross_entropy_with_logits(scale * (cosines - bar), right, reduction="sum")
    return ranked + 0.5 * pairs / len(cosines)


def _warm_then_down(step: int, steps: int) -> float:
    warm = max(1, steps // 10)
    return (step + 1) / warm if step < warm else max(0.02, (steps - step) / max(1, steps - warm))


def settings(recipe: Recipe, examples: Sequence[Example], corpus: Corpus, source: Source) -> dict[str, Any]:
    """What stands beside a model about its training."""
    return {
        "recipe": asdict(recipe),
        "examples": len(examples),
        "data_sha256": corpus.sha256,
        "source_sha256": hashlib.sha256(source.weights.read_bytes()).hexdigest(),
        "software": {name: importlib.metadata.version(name) for name in ("torch", "tokenizers", "numpy", "onnx")},
    }

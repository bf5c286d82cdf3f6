"""A base of two layers that reads single characters, and runs of training on it.

As a program (`python -m tests.training.trainkit RECIPE BASE OUT`) it trains and prints each step's loss, so that a test
can kill it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from expert_system.training.data.row import Row
from expert_system.training.dataset import TEST, TRAIN, VALIDATION, Part
from expert_system.training.recipe import Recipe
from expert_system.training.steps import StepReport
from expert_system.training.train import train

HIDDEN, INNER, HEADS, KV_HEADS, LAYERS = 32, 48, 4, 2, 2
ATTENTION, MLP = ["q_proj", "k_proj", "v_proj", "o_proj"], ["gate_proj", "up_proj", "down_proj"]
LORA = {"adapter": "lora", "r": 4, "alpha": 8, "target_modules": [*ATTENTION, *MLP]}
KINDS: dict[str, dict[str, Any]] = {
    "lora": {**LORA, "dropout": 0.1},
    "rslora": {**LORA, "use_rslora": True},
    "dora": {**LORA, "adapter": "dora"},
    "ia3": {
        "adapter": "ia3",
        "target_modules": ["k_proj", "v_proj", "down_proj"],
        "feedforward_modules": ["down_proj"],
        "learning_rate": 0.05,
    },
    "soft_prompt": {
        "adapter": "soft_prompt",
        "num_virtual_tokens": 5,
        "prompt_text": "Say",
        "learning_rate": 0.05,
    },
}
"""The keys of a recipe that make each kind."""
_TEMPLATE = "{% for m in messages %}<s>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"


def make_base(folder: Path) -> Path:
    """Write the base and its tokenizer."""
    signs = ["<s>", "<a>", "<e>", *map(chr, range(32, 127)), "\n"]
    tokenizer = Tokenizer(models.WordLevel({sign: index for index, sign in enumerate(signs)}, unk_token="<e>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<e>", pad_token="<e>")
    fast.add_special_tokens({"additional_special_tokens": ["<s>", "<a>"]})
    fast.chat_template = _TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def make_recipe(kind: str = "lora", **changes: Any) -> Recipe:
    """A recipe for the tiny base; it writes a checkpoint after every step."""
    training: dict[str, Any] = {
        "method": "sft",
        "base": "tiny",
        "seed": 7,
        "precision": "float32",
        "epochs": 1,
        "batch_size": 2,
        "learning_rate": 0.001,
        "warmup_share": 0.04,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "validate_every_steps": 3,
        "checkpoint_every_s": 1e-9,
        **KINDS[kind],
        **changes,
    }
    part = {"count": 1}
    dataset = {"generator": "template", "program": "sql", "seed": 1, "train": part, "validation": part, "test": part}
    return Recipe.model_validate_json(json.dumps({"dataset": dataset, "training": training}))


def make_parts() -> dict[str, Part]:
    """Twenty rows to learn, four held out, two to test; each is a preference pair too."""

    def part(count: int, start: int) -> Part:
        return Part(
            examples=tuple(
                Row(
                    messages=({"role": "user", "content": f"Say {n}"},),
                    answer=f'{{"n": {n}}}',
                    template="f",
                    rejected=f"{n}?",
                )
                for n in range(start, start + count)
            )
        )

    return {TRAIN: part(20, 0), VALIDATION: part(4, 100), TEST: part(2, 200)}


def run(recipe: Recipe, base: Path, out: Path, after_step: Callable[[StepReport], None] | None = None) -> list[float]:
    """Train; the loss of each step that was made."""
    losses: list[float] = []

    def report(step: StepReport) -> None:
        losses.append(step.loss)
        if after_step is not None:
            after_step(step)

    train(recipe, make_parts(), base=base, base_digest="0" * 64, out=out, report=report)
    return losses


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with so many; tensors this small are slower on several, by far when another program runs beside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def record(out: Path) -> Mapping[str, Any]:
    """What run.json says."""
    told: dict[str, Any] = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return told


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(
        Recipe.model_validate_json(Path(sys.argv[1]).read_bytes()),
        Path(sys.argv[2]),
        Path(sys.argv[3]),
        lambda step: print(step.loss, flush=True),  # noqa: T201 - read by the test
    )

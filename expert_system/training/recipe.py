"""What to generate and how to train it: the recipe of an expert, data only.

    recipe.json -> Recipe

Promise: unknown and missing keys are refused, so a recipe that is read is a recipe that is obeyed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from expert_system.training.dataset_recipe import DatasetRecipe
from expert_system.training.recipe_fields import Strict

if TYPE_CHECKING:
    from pathlib import Path


LOW_RANK = ("lora", "dora")
LONGEST_BETWEEN_CHECKPOINTS_S = 300


class TrainingRecipe(Strict):
    """How the adapter is trained."""

    method: Literal["sft", "dpo"]
    """Supervised on the answers, or on preference pairs (DPO, arXiv 2305.18290)."""
    adapter: Literal["lora", "dora", "ia3", "soft_prompt"]
    base: str
    """Name of the base; also the name of its folder under `weights/`."""
    seed: int
    precision: Literal["bfloat16", "float32"]
    """Of the base and of the products; adapter weights and optimizer are FP32."""
    quantization: Literal["none", "int8", "int4"] = "none"
    """Of the base in memory while training, by bitsandbytes; needs a GPU."""
    r: int = Field(default=0, ge=0)
    """Rank of a lora or dora."""
    alpha: int = Field(default=0, ge=0)
    """The scale of a lora or dora is alpha / r, with use_rslora alpha / sqrt(r)."""
    use_rslora: bool = False
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """On the inputs of a lora or dora."""
    target_modules: tuple[str, ...] = ()
    """Names of the linear layers to adapt; none for a soft prompt."""
    feedforward_modules: tuple[str, ...] = ()
    """Those of an ia3's target_modules whose inputs it scales; of the others it scales the outputs."""
    num_virtual_tokens: int = Field(default=0, ge=0)
    """Length of a soft prompt."""
    prompt_text: str = ""
    """What a soft prompt starts as; empty for random vectors."""
    beta: float = Field(default=0.1, gt=0)
    """How strongly dpo holds the expert to the base."""
    epochs: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    warmup_share: float = Field(ge=0, lt=1)
    """Share of all steps over which the learning rate rises."""
    weight_decay: float = Field(ge=0)
    max_grad_norm: float = Field(gt=0)
    gradient_checkpointing: bool = False
    """Compute activations twice to hold fewer of them."""
    packing: bool = False
    """Lay a batch's examples one behind another instead of padding them; needs a GPU, sft only."""
    compile: bool = False
    """Compile the decoder's layers: half a minute at the start, then faster steps. Rounds otherwise in BF16."""
    validate_every_steps: int = Field(gt=0)
    checkpoint_every_s: float = Field(gt=0, le=LONGEST_BETWEEN_CHECKPOINTS_S)

    @model_validator(mode="after")
    def _options_fit_the_kind(self) -> Self:
        low_rank, soft, ia3 = self.adapter in LOW_RANK, self.adapter == "soft_prompt", self.adapter == "ia3"
        needed = {"r": low_rank, "alpha": low_rank, "target_modules": not soft, "num_virtual_tokens": soft}
        allowed = {"use_rslora": low_rank, "dropout": low_rank, "feedforward_modules": ia3, "prompt_text": soft}
        for option, fits in {**needed, **allowed}.items():
            if getattr(self, option) and not fits:
                raise ValueError(f"{option} does not belong to adapter {self.adapter}")
            if needed.get(option) and not getattr(self, option):
                raise ValueError(f"adapter {self.adapter} needs {option}")
        if not set(self.feedforward_modules) <= set(self.target_modules):
            raise ValueError("feedforward_modules names a module that target_modules does not")
        if set(self.feedforward_modules) & {"gate_proj", "up_proj"}:
            # vLLM computes both from one packed input, so the engine refuses gates that differ between them.
            raise ValueError("feedforward_modules may name down_proj only: gate_proj and up_proj share their input")
        if self.packing and (soft or self.method == "dpo"):
            raise ValueError("packing works with method sft and without a soft prompt only")
        return self


class Recipe(Strict):
    """A whole recipe."""

    dataset: DatasetRecipe
    training: TrainingRecipe


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        pydantic.ValidationError: naming the key that is wrong.
    """
    return Recipe.model_validate_json(path.read_bytes())

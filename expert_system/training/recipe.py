"""What to generate and how to train it: the recipe of an expert, data only.

    recipe.json -> Recipe

Promise: unknown and missing keys are refused, so a recipe that is read is a recipe that is obeyed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from expert_system.training.dataset_recipe import DatasetRecipe, Strict

if TYPE_CHECKING:
    from pathlib import Path


class TrainingRecipe(Strict):
    """How the adapter is trained."""

    method: Literal["sft"]
    adapter: Literal["lora"]
    base: str
    """Name of the base; also the name of its folder under `weights/`."""
    seed: int
    precision: Literal["bfloat16", "float32"]
    """Of the base and of the products; adapter weights and optimizer are FP32."""
    r: int = Field(gt=0)
    alpha: int = Field(gt=0)
    dropout: float = Field(ge=0, lt=1)
    target_modules: tuple[str, ...]
    epochs: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    warmup_share: float = Field(ge=0, lt=1)
    """Share of all steps over which the learning rate rises."""
    weight_decay: float = Field(ge=0)
    max_grad_norm: float = Field(gt=0)
    validate_every_steps: int = Field(gt=0)
    checkpoint_every_s: float = Field(gt=0)


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

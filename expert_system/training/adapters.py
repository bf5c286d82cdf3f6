"""The kinds of adapter: how each starts on a frozen base and how it is saved.

    recipe -> PEFT configuration;  base folder -> frozen base;  best weights -> adapter folder

Promise: a saved folder is one that `PeftModel.from_pretrained` and our engine read, and it names no path of this machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import IA3Config, LoraConfig, PeftConfig, PromptTuningConfig
from transformers import AutoModelForCausalLM

from expert_system.errors import ConfigError
from expert_system.training.checkpoint import Tensors, write_aside

if TYPE_CHECKING:
    from expert_system.training.recipe import TrainingRecipe

CUDA, CPU = "cuda", "cpu"
WEIGHTS_FILE = "adapter_model.safetensors"
HALVED = (".lora_A.weight", ".lora_B.weight", "prompt_embeddings")
"""Saved in BF16. The others, DoRA's magnitudes and IA³'s gates, are vectors near one, where BF16 steps are 1/256: FP32."""


def choose_device(how: TrainingRecipe) -> str:
    """The device to train on: a GPU where there is one.

    Raises:
        ConfigError: the recipe asks for what only a GPU can do.
    """
    if torch.cuda.is_available():
        return CUDA
    if how.quantization != "none":
        raise ConfigError(
            f"quantization {how.quantization} needs bitsandbytes on a GPU, and none answers here; "
            'train with "quantization": "none"'
        )
    if how.packing:
        raise ConfigError(
            "packing needs a GPU: on a CPU its attention mask costs more than the padding it saves; "
            'train with "packing": false'
        )
    return CPU


def load_base(how: TrainingRecipe, base: Path, device: str) -> Any:
    """The base, frozen, in the recipe's precision; quantised in memory when the recipe says so."""
    options: dict[str, Any] = {"dtype": getattr(torch, how.precision)}
    if device == CPU:
        # Rows of some hundred tokens: two products and a softmax take a third of the time of torch's fused kernel.
        options["attn_implementation"] = "eager"
    if how.quantization != "none":
        from transformers import BitsAndBytesConfig

        four = how.quantization == "int4"
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=four,
            load_in_8bit=not four,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, how.precision),
        )
        options["device_map"] = {"": device}
    model = AutoModelForCausalLM.from_pretrained(base, **options)
    model.requires_grad_(requires_grad=False)
    return model


def peft_config(how: TrainingRecipe) -> PeftConfig:
    """What PEFT puts on the base."""
    if how.adapter == "soft_prompt":
        return PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=how.num_virtual_tokens)
    if how.adapter == "ia3":
        return IA3Config(
            task_type="CAUSAL_LM",
            target_modules=list(how.target_modules),
            feedforward_modules=list(how.feedforward_modules),
        )
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=how.r,
        lora_alpha=how.alpha,
        lora_dropout=how.dropout,
        target_modules=list(how.target_modules),
        use_rslora=how.use_rslora,
        use_dora=how.adapter == "dora",
    )


@torch.no_grad()
def start_prompt(model: Any, tokenizer: Any, text: str) -> None:
    """Let a soft prompt start as the base's own embeddings of a text, repeated to its length."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    (prompt,) = (value for value in model.parameters() if value.requires_grad)
    wanted = [ids[place % len(ids)] for place in range(len(prompt))]
    prompt.copy_(model.get_input_embeddings()(torch.tensor(wanted, device=prompt.device)))


def save_adapter(config: PeftConfig, best: Tensors, folder: Path, base_name: str) -> None:
    """Write weights and configuration as `PeftModel.from_pretrained` reads them."""
    folder.mkdir(exist_ok=True)
    weights = {name: value.to(torch.bfloat16) if name.endswith(HALVED) else value for name, value in best.items()}
    write_aside(weights, folder / WEIGHTS_FILE, {"format": "pt"})
    config.inference_mode = True
    config.base_model_name_or_path = base_name
    for names in ("target_modules", "feedforward_modules"):
        if getattr(config, names, None):
            setattr(config, names, sorted(getattr(config, names)))  # PEFT keeps a set, in another order each run
    config.save_pretrained(folder)

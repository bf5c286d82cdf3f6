"""Tiny random bases with a real tokenizer, and real PEFT adapters for them: seconds instead of minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import IA3Config, LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

HIDDEN = 128
ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
_SHAPE: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 1024,
    "initializer_range": 0.15,
    "tie_word_embeddings": False,
}
_TEMPLATE = "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}{% endfor %}<s>assistant\n"


def make_base(folder: Path, architecture: str) -> Path:
    """Write a random base; `architecture` is "llama" (with biases in its attention) or "qwen3"."""
    tokenizer = _tokenizer()
    torch.manual_seed(7)
    common = {**_SHAPE, "vocab_size": len(tokenizer), "bos_token_id": 256, "eos_token_id": 257}
    if architecture == "llama":
        model: Any = LlamaForCausalLM(LlamaConfig(**common, attention_bias=True))
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.5)
    else:
        model = Qwen3ForCausalLM(Qwen3Config(**common))
    model.to(torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer() -> Any:
    """One token for each byte, and the two that begin and end."""
    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = Tokenizer(models.BPE(vocab=letters, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = _TEMPLATE
    return tokenizer


def lora(r: int, **changes: Any) -> LoraConfig:
    """A LoRA on all linear layers."""
    return LoraConfig(
        **{"r": r, "lora_alpha": 2 * r, "target_modules": ALL_LINEAR, "task_type": "CAUSAL_LM", **changes}
    )


def ia3() -> IA3Config:
    """IA³ where its paper puts it: keys, values, and the inner activations of the MLP."""
    return IA3Config(
        target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"
    )


def soft_prompt(tokens: int) -> PromptTuningConfig:
    """Prompt tuning."""
    return PromptTuningConfig(num_virtual_tokens=tokens, task_type="CAUSAL_LM")


def make_adapter(folder: Path, base: Path, config: Any, *, seed: int, strength: float = 0.1) -> Path:
    """Save an adapter with PEFT, its weights random and strong enough to change greedy tokens.

    Deep bases want less strength: thirty layers far from what they were trained for amplify FP32's rounding itself.
    """
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * strength
        elif "lora_A" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) / parameter.shape[1] ** 0.5
        elif "lora_magnitude" in name or "ia3_l" in name:
            parameter.data *= 1.0 + 4 * strength * torch.randn(parameter.shape, generator=generator)
        elif "prompt" in name and parameter.requires_grad:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
    model.save_pretrained(folder)
    return folder


def peft_model(base: Path, folders: dict[str, Path], dtype: torch.dtype = torch.float32) -> Any:
    """The base with these adapters in PEFT, none merged: the oracle."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype).eval()
    names = iter(folders.items())
    first, folder = next(names)
    peft = PeftModel.from_pretrained(model, folder, adapter_name=first)
    for name, folder in names:
        peft.load_adapter(folder, name)
    return peft.eval()

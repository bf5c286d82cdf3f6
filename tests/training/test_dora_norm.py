"""DoRA from its factors is PEFT's DoRA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from expert_system.training.dora_norm import FactoredDora, factor_norms, row_norms
from tests.training.trainkit import make_base

if TYPE_CHECKING:
    from pathlib import Path


def adapted(base: Path, dropout: float = 0.0) -> Any:
    """A model under DoRA; its B is zero, as at the start of a training."""
    torch.manual_seed(3)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=4,
        lora_alpha=12,
        lora_dropout=dropout,
        use_dora=True,
        target_modules=["q_proj", "down_proj"],
    )
    return get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)


def move(model: Any) -> None:
    """Change every trained parameter, the same way each time."""
    made = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value.add_(0.3 * torch.randn(value.shape, generator=made))


def learnt(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The logits of one row and the gradients of the trained parameters."""
    logits = model(input_ids=torch.arange(3, 15).unsqueeze(0)).logits
    logits.square().mean().backward()
    return logits.detach(), {name: value.grad for name, value in model.named_parameters() if value.requires_grad}


def test_norms_are_those_of_the_sum() -> None:
    """||W + s B A|| row by row, here with the product made."""
    torch.manual_seed(1)
    weight, a, b = torch.randn(24, 40), torch.randn(4, 40), torch.randn(24, 4)

    norms = row_norms(weight.square().sum(1), weight, a, b, 1.7)

    torch.testing.assert_close(norms, torch.linalg.norm(weight + 1.7 * b @ a, dim=1))


def test_layers_give_and_learn_what_pefts_do(tmp_path: Path) -> None:
    """Outputs and every gradient agree in FP32, for magnitudes, A and B that training has moved."""
    base = make_base(tmp_path / "base")
    theirs, ours = adapted(base), adapted(base)
    factor_norms(ours)
    move(theirs)
    move(ours)

    logits, gradients = learnt(theirs)
    our_logits, our_gradients = learnt(ours)

    assert any(isinstance(module, FactoredDora) for module in ours.modules())
    torch.testing.assert_close(our_logits, logits, rtol=1e-4, atol=1e-5)
    assert our_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(our_gradients[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_an_untrained_adapter_changes_nothing(tmp_path: Path) -> None:
    """Magnitudes start as the base's own norms, so the first step begins at the base."""
    base = make_base(tmp_path / "base")
    model = adapted(base)
    factor_norms(model)
    ids = torch.arange(3, 15).unsqueeze(0)

    with model.disable_adapter():
        plain = model(input_ids=ids).logits

    torch.testing.assert_close(model(input_ids=ids).logits, plain)


def test_with_dropout_the_layer_is_pefts(tmp_path: Path) -> None:
    """The base's output is of the input before dropout, so it cannot be used again."""
    base = make_base(tmp_path / "base")
    theirs, ours = adapted(base, dropout=0.5), adapted(base, dropout=0.5)
    factor_norms(ours)
    move(theirs)
    move(ours)

    torch.manual_seed(11)
    logits, _ = learnt(theirs)
    torch.manual_seed(11)
    our_logits, _ = learnt(ours)

    torch.testing.assert_close(our_logits, logits, rtol=1e-4, atol=1e-5)

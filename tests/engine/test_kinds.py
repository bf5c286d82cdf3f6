"""Every kind of expert, alone and mixed: DoRA, IA³ and soft prompts, FP32."""

from __future__ import annotations

from typing import Any

import kit
import pytest
import tiny
import torch
from formula import Formula

from expert_system.errors import InvalidRequest

pytestmark = pytest.mark.engine

VOCABULARY = 256
PROMPT_LENGTH = 24


def peft_oracle(bench: kit.Bench, *names: str) -> Any:
    """PEFT's unmerged forward with these adapters active; virtual tokens are cut off."""
    model = tiny.peft_model(bench.base, {name: bench.adapters[f"expert-{name}"] for name in names})
    if names[0].startswith("soft"):
        count = model.peft_config[names[0]].num_virtual_tokens
        return lambda ids: model(ids).logits[:, count:]
    model.base_model.set_adapter(list(names))
    return lambda ids: model(ids).logits


@pytest.mark.parametrize("names", [["dora-0"], ["ia3-0"], ["soft-0"], ["ia3-0", "ia3-1"]], ids=" and ".join)
def test_a_kind_computes_what_peft_computes(bench: kit.Bench, names: list[str]) -> None:
    """A3: PEFT is the oracle for every kind alone, and for products of IA³."""
    (prompt,) = kit.prompts(1, PROMPT_LENGTH, VOCABULARY, seed=11)
    (answer,) = bench.run_all((prompt, bench.set(*names)))

    assert kit.check_against(peft_oracle(bench, *names), prompt, answer) < kit.LOGPROB_TOLERANCE


@pytest.mark.parametrize(
    "members",
    [
        pytest.param([("dora-0", 1.0), ("dora-1", 1.0)], id="dora + dora"),
        pytest.param([("lora-3", 1.0), ("dora-0", 1.0)], id="lora + dora"),
        pytest.param([("lora-3", 1.0), ("ia3-0", 1.0)], id="lora + ia3"),
        pytest.param([("lora-3", 0.5), ("dora-0", 1.5), ("ia3-0", 0.7)], id="weights"),
        pytest.param([("lora-3", 0.5), ("dora-0", 1.5), ("ia3-0", 0.7), ("soft-0", 1.0)], id="all four"),
        pytest.param([("soft-0", 1.0), ("soft-1", 1.0), ("dora-1", 2.0), ("ia3-1", 1.0)], id="two soft prompts"),
    ],
)
def test_a_mixture_computes_the_canonical_form(bench: kit.Bench, members: list[tuple[str, float]]) -> None:
    """A3, deliver 1: the formula, written out in plain torch, with weights."""
    (prompt,) = kit.prompts(1, PROMPT_LENGTH, VOCABULARY, seed=12)
    reference = Formula(bench.base, [(bench.adapters[f"expert-{name}"], weight) for name, weight in members])
    (answer,) = bench.run_all((prompt, bench.set(*members)))

    assert kit.check_against(reference, prompt, answer) < kit.LOGPROB_TOLERANCE


def test_the_reference_agrees_with_peft_where_peft_can_say(bench: kit.Bench) -> None:
    """The plain-torch reference is itself checked: each kind alone gives PEFT's logits."""
    (prompt,) = kit.prompts(1, PROMPT_LENGTH, VOCABULARY, seed=13)
    ids = torch.tensor([prompt])
    for name in ("lora-5", "rslora", "dora-1", "ia3-1", "soft-1"):
        with torch.no_grad():
            said = peft_oracle(bench, name)(ids)
        written = Formula(bench.base, [(bench.adapters[f"expert-{name}"], 1.0)])(ids)
        assert torch.allclose(said, written, atol=2e-4), name


def test_one_batch_of_mixed_kinds_equals_each_alone(bench: kit.Bench) -> None:
    """A3: 32 requests over 12 sets of mixed kinds, 4 without any, tokens and soft prompts mixed; the engine lives."""
    sets = [
        bench.set("dora-0"),
        bench.set("dora-1", "lora-2"),
        bench.set("ia3-0"),
        bench.set("ia3-1", "lora-4"),
        bench.set("soft-0"),
        bench.set("soft-1", "dora-0"),
        bench.set("soft-0", "soft-1", "ia3-0"),
        bench.set("lora-9"),
        bench.set(("lora-1", 0.5), ("dora-1", 1.5), ("ia3-0", 0.5), "soft-1"),
        bench.set("patterns", "ia3-1"),
        bench.set("rslora", "dora-0", "dora-1"),
        bench.set("attention-only", "soft-0"),
    ]
    prompts = kit.prompts(32, PROMPT_LENGTH, VOCABULARY, seed=14)
    chosen = [None if i % 8 == 7 else sets[i % 12] for i in range(32)]
    requests = list(zip(prompts, chosen, strict=True))
    alone = [bench.run_all(request)[0] for request in requests]

    together = bench.run_all(*requests)

    assert [answer.token_ids for answer in alone] == [answer.token_ids for answer in together]


def test_virtual_tokens_are_counted_apart(bench: kit.Bench) -> None:
    """A3: virtual tokens are reported as usage.virtual_tokens and are no prompt tokens."""
    (prompt,) = kit.prompts(1, PROMPT_LENGTH, VOCABULARY)
    (answer,) = bench.run_all((prompt, bench.set("soft-0", "soft-1")))

    assert answer.usage.virtual_tokens == 5 + 3
    assert answer.usage.prompt_tokens == PROMPT_LENGTH


def test_a_weighted_soft_prompt_is_refused(bench: kit.Bench) -> None:
    """A3: a soft prompt has no weight; what has no meaning is refused by name."""
    with pytest.raises(InvalidRequest, match="expert-soft-0 is a soft prompt, which has no weight"):
        bench.set(("soft-0", 0.5))

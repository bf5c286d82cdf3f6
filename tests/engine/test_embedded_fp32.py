"""The embedded base in FP32: exact."""

from __future__ import annotations

from typing import Any

import kit
import pytest
import tiny
from embedded import encoded, mixed

pytestmark = pytest.mark.engine


def oracle(bench: kit.Bench, name: str) -> Any:
    """PEFT with one adapter; virtual tokens are cut off."""
    model = tiny.peft_model(bench.base, {name: bench.adapters[f"expert-{name}"]})
    count = model.peft_config[name].num_virtual_tokens if name == "soft" else 0
    return lambda ids: model(ids).logits[:, count:]


def test_fifty_answers_equal_peft(embedded_fp32: kit.Bench) -> None:
    """A2: FP32 greedy texts equal PEFT for 50 of 50 prompts of 32 tokens."""
    prompts = encoded(embedded_fp32, 50)
    answers = embedded_fp32.run_all(*((p, embedded_fp32.set("strong")) for p in prompts), max_tokens=32)
    reference = oracle(embedded_fp32, "strong")

    for prompt, answer in zip(prompts, answers, strict=True):
        assert kit.check_against(reference, prompt, answer) < kit.LOGPROB_TOLERANCE


@pytest.mark.parametrize("name", ["dora", "ia3", "soft"])
def test_every_kind_equals_peft(embedded_fp32: kit.Bench, name: str) -> None:
    """A3: the embedded base likewise for each kind alone."""
    prompts = encoded(embedded_fp32, 6)
    answers = embedded_fp32.run_all(*((p, embedded_fp32.set(name)) for p in prompts), max_tokens=24)
    reference = oracle(embedded_fp32, name)

    for prompt, answer in zip(prompts, answers, strict=True):
        assert kit.check_against(reference, prompt, answer) < kit.LOGPROB_TOLERANCE


def test_sixteen_streams_equal_themselves_alone(embedded_fp32: kit.Bench) -> None:
    """A1: 16 streams, half with experts, every slot occupied; texts and token ids equal the same requests alone.

    The base's rows are among them: vLLM's own CPU kernels give those the last slot's adapter.
    """
    requests = mixed(embedded_fp32, 16)
    alone = [embedded_fp32.run_all(request, max_tokens=24)[0] for request in requests]

    together = embedded_fp32.run_all(*requests, max_tokens=24)
    held = kit.loop().run_until_complete(embedded_fp32.engine.residencies())
    base_only = embedded_fp32.run_all(*((prompt, None) for prompt, _ in requests[::2]), max_tokens=24)

    assert sum(found.in_slot for found in held) == embedded_fp32.engine.base.slots
    assert [(a.text, a.token_ids) for a in alone] == [(a.text, a.token_ids) for a in together]
    assert all(a.token_ids != b.token_ids for a, b in zip(base_only, alone[::2], strict=True)), "adapters too weak"

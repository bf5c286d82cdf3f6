"""The embedded base, as users get it: exact in FP32, statistically sound in BF16."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from typing import Any

import kit
import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM

from expert_system.engine.sets import Composed

pytestmark = pytest.mark.engine

TOPICS = ("rivers", "bread", "trains", "the moon", "chess", "glass", "whales", "volcanoes", "paper", "music")
QUESTIONS = (
    "Tell me something about {}.",
    "Write two sentences on {} for a child.",
    "List three facts about {}.",
    "Why do people care about {}?",
    "Question: what is known of {}? Answer:",
)
PROMPTS = [question.format(topic) for question, topic in itertools.product(QUESTIONS, TOPICS)]
CLOSE_CALL = 0.5
"""Largest logprob by which a BF16 batch may prefer another token than the request alone."""
AGREEMENT_SLACK = 0.01


def encoded(bench: kit.Bench, count: int) -> list[tuple[int, ...]]:
    """The first prompts under the base's tokenizer."""
    run = kit.loop().run_until_complete
    return [run(bench.engine.tokenize(prompt)) for prompt in PROMPTS[:count]]


def oracle(bench: kit.Bench, name: str) -> Any:
    """PEFT with one adapter; virtual tokens are cut off."""
    model = tiny.peft_model(bench.base, {name: bench.adapters[f"expert-{name}"]})
    count = model.peft_config[name].num_virtual_tokens if name == "soft" else 0
    return lambda ids: model(ids).logits[:, count:]


def mixed(bench: kit.Bench, count: int) -> list[tuple[Sequence[int], Composed | None]]:
    """Requests, half of them with experts, of as many sets as there are slots."""
    sets = [bench.set("strong"), bench.set("wide"), bench.set("strong", "wide")]
    prompts = encoded(bench, count)
    return [(prompt, None if i % 2 else sets[(i // 2) % 3]) for i, prompt in enumerate(prompts)]


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


def test_bf16_batches_differ_only_at_close_calls(embedded_bf16: kit.Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """A1: in BF16 the solo token at the first difference is within 0.5 in logprob of the batch's own."""
    requests = mixed(embedded_bf16, 16)
    alone = [embedded_bf16.run_all(request, max_tokens=24)[0] for request in requests]
    together = embedded_bf16.run_all(*requests, max_tokens=24, logprobs=5)
    equal = 0
    for request, solo, batch in zip(requests, alone, together, strict=True):
        first = next((i for i, (a, b) in enumerate(zip(solo.token_ids, batch.token_ids, strict=True)) if a != b), None)
        if first is None:
            equal += 1
            continue
        prefix = (*request[0], *batch.token_ids[:first])
        (again,) = embedded_bf16.run_all((prefix, request[1]), max_tokens=1, logprobs=20)
        assert again.token_ids[0] in (solo.token_ids[first], batch.token_ids[first])
        assert abs(again.logprobs[0] - batch.logprobs[first]) < CLOSE_CALL
    report(capsys, f"BF16: {equal} of {len(requests)} texts equal the same request alone")


def test_bf16_agrees_with_peft_as_far_as_the_base_does(
    embedded_bf16: kit.Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """A2: teacher-forced argmax agreement with PEFT is at most one point below that of base and transformers."""
    prompts = encoded(embedded_bf16, 25)
    with_expert = embedded_bf16.run_all(*((p, embedded_bf16.set("strong")) for p in prompts), max_tokens=24)
    plain = embedded_bf16.run_all(*((p, None) for p in prompts), max_tokens=24)
    base = AutoModelForCausalLM.from_pretrained(embedded_bf16.base, dtype=torch.bfloat16).eval()
    peft = tiny.peft_model(
        embedded_bf16.base, {"strong": embedded_bf16.adapters["expert-strong"]}, dtype=torch.bfloat16
    )

    expected = agreement(lambda ids: base(ids).logits, prompts, plain)
    found = agreement(lambda ids: peft(ids).logits, prompts, with_expert)

    report(capsys, f"argmax agreement in BF16: base {expected:.3f}, with an expert {found:.3f}")
    assert found >= expected - AGREEMENT_SLACK


def report(capsys: pytest.CaptureFixture[str], line: str) -> None:
    """Show a figure that the issue asks for, past pytest's capture."""
    with capsys.disabled():
        sys.stdout.write(f"\n{line}\n")


def agreement(logits_of: Any, prompts: Sequence[Sequence[int]], answers: Sequence[kit.Answer]) -> float:
    """The share of tokens that the oracle would have chosen too, given the same tokens before them."""
    same = total = 0
    for prompt, answer in zip(prompts, answers, strict=True):
        with torch.no_grad():
            logits = logits_of(torch.tensor([[*prompt, *answer.token_ids]]))[0]
        chosen = logits[len(prompt) - 1 : -1].argmax(dim=-1).tolist()
        same += sum(a == b for a, b in zip(chosen, answer.token_ids, strict=True))
        total += len(answer.token_ids)
    return same / total

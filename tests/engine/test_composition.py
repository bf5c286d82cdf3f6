"""Sets of LoRA experts against PEFT's unmerged forward, FP32."""

from __future__ import annotations

from typing import Any

import kit
import pytest
import tiny

pytestmark = pytest.mark.engine

VOCABULARY = 256
PROMPT_LENGTH = 24


def oracle(bench: kit.Bench, *members: tuple[str, float]) -> Any:
    """PEFT with these adapters active and scaled, as a function from ids to logits."""
    model = tiny.peft_model(bench.base, {name: bench.adapters[f"expert-{name}"] for name, _ in members})
    model.base_model.set_adapter([name for name, _ in members])
    for module in model.modules():
        if hasattr(module, "set_scale"):
            for name, weight in members:
                if weight != 1.0 and name in module.scaling:
                    module.set_scale(name, weight)
    return lambda ids: model(ids).logits


@pytest.mark.parametrize(
    "members",
    [
        pytest.param([("lora-7", 1.0)], id="lora"),
        pytest.param([("rslora", 1.0)], id="rslora"),
        pytest.param([("patterns", 1.0)], id="rank and alpha patterns"),
        pytest.param([("attention-only", 1.0)], id="some modules only"),
        pytest.param([("lora-3", 1.0), ("lora-7", 1.0)], id="two"),
        pytest.param([("lora-3", 1.0), ("patterns", 1.0), ("attention-only", 1.0)], id="three"),
        pytest.param([("lora-3", 0.5), ("lora-7", 1.75)], id="weights"),
        pytest.param([(f"lora-{i}", 1.0) for i in range(10)], id="ten of different ranks"),
    ],
)
def test_a_set_computes_what_peft_computes(bench: kit.Bench, members: list[tuple[str, float]]) -> None:
    """A2: greedy tokens equal PEFT's unmerged forward, and no chosen token's logprob differs by 1e-3 or more."""
    (prompt,) = kit.prompts(1, PROMPT_LENGTH, VOCABULARY, seed=len(members))
    (answer,) = bench.run_all((prompt, bench.set(*members)))

    assert kit.check_against(oracle(bench, *members), prompt, answer) < kit.LOGPROB_TOLERANCE


def test_experts_change_the_answer(bench: kit.Bench) -> None:
    """The test adapters are strong enough that equality above means something: none answers as the base does."""
    (prompt,) = kit.prompts(1, PROMPT_LENGTH, VOCABULARY)
    base, *others = bench.run_all((prompt, None), *((prompt, bench.set(f"lora-{i}")) for i in range(10)))

    assert [base.token_ids == other.token_ids for other in others] == [False] * 10


def test_a_small_weight_approaches_the_base(bench: kit.Bench) -> None:
    """A2: w -> 0 is the base."""
    (prompt,) = kit.prompts(1, PROMPT_LENGTH, VOCABULARY)
    base, faint = bench.run_all((prompt, None), (prompt, bench.set(("lora-3", 1e-6))))

    assert base.token_ids == faint.token_ids
    assert base.logprobs == pytest.approx(faint.logprobs, abs=1e-3)


def test_one_batch_of_twelve_sets_and_the_base_equals_each_alone(bench: kit.Bench) -> None:
    """A2: 32 requests over 12 sets and 4 without any, every slot occupied; each equals itself sent alone."""
    sets = [bench.set(f"lora-{i}", "patterns") for i in range(10)]
    sets += [bench.set("rslora"), bench.set(("lora-1", 0.5), "attention-only", ("lora-9", 2.0))]
    filler = bench.set("lora-0")  # the thirteenth set takes the last slot
    prompts = kit.prompts(32, PROMPT_LENGTH, VOCABULARY, seed=3)
    chosen = [None if i % 8 == 7 else sets[i % 12] for i in range(32)]
    requests = list(zip(prompts, chosen, strict=True))
    alone = [bench.run_all(request)[0] for request in requests]

    together = bench.run_all(*requests, (prompts[0], filler))[:-1]
    slots = kit.loop().run_until_complete(bench.engine.residencies())

    assert sum(held.in_slot for held in slots) == bench.engine.base.slots
    assert [answer.token_ids for answer in alone] == [answer.token_ids for answer in together]
    assert sum(composed is None for composed in chosen) == 4


def test_more_sets_than_slots_all_finish(bench: kit.Bench) -> None:
    """A2: more distinct sets than unpinned slots; nothing dies, nobody starves, every answer is its own."""
    sets = [bench.set((f"lora-{i % 10}", 1.0 + i / 100)) for i in range(20)]
    (prompt,) = kit.prompts(1, PROMPT_LENGTH, VOCABULARY)
    pinned = sets[0].expert_set
    run = kit.loop().run_until_complete
    run(bench.engine.pin(pinned, pinned=True))

    answers = bench.run_all(*((prompt, composed) for composed in sets))
    alone = [bench.run_all((prompt, composed))[0] for composed in (sets[0], sets[7], sets[19])]
    run(bench.engine.pin(pinned, pinned=False))

    assert [a.token_ids for a in alone] == [answers[i].token_ids for i in (0, 7, 19)]

"""The KV cache belongs to one exact set; and a set is the same whatever order its members were named in."""

from __future__ import annotations

import itertools

import kit
import pytest
import tiny

from expert_system.domain import MAX_EXPERTS
from expert_system.errors import IncompatibleSet, InvalidRequest, Overloaded, UnknownExpert

pytestmark = pytest.mark.engine

BLOCK_TOKENS = 128
"""vLLM's block on the CPU; shorter prompts are never cached."""
VOCABULARY = 256


def test_a_set_hits_its_own_cache_and_no_other(tiny_llama: kit.Bench) -> None:
    """A2, deliver 5: set A fills its cache; B sees none of it, nor does the base; A again hits."""
    (prompt,) = kit.prompts(1, 2 * BLOCK_TOKENS + 9, VOCABULARY, seed=31)
    a, b = tiny_llama.set("lora-1"), tiny_llama.set("lora-2")

    order = [a, b, None, tiny_llama.set(("lora-1", 0.5)), tiny_llama.set("lora-1", "lora-2"), a, b, None]
    cached = [tiny_llama.run_all((prompt, composed), max_tokens=2)[0].usage.cached_tokens for composed in order]

    assert cached == [0] * 5 + [2 * BLOCK_TOKENS] * 3


def test_a_new_version_never_sees_the_old_cache(tiny_llama: kit.Bench) -> None:
    """A2, deliver 5: same name, changed weights: zero cached tokens, and the answer of the new weights."""
    (prompt,) = kit.prompts(1, 2 * BLOCK_TOKENS + 9, VOCABULARY, seed=32)
    folder = tiny_llama.scratch / "changing"
    tiny_llama.add("changing", tiny.make_adapter(folder, tiny_llama.base, tiny.lora(4), seed=41))
    before = tiny_llama.run_all((prompt, tiny_llama.set("changing")))[0]
    tiny_llama.add("changing", tiny.make_adapter(folder, tiny_llama.base, tiny.lora(4), seed=42))

    after = tiny_llama.run_all((prompt, tiny_llama.set("changing")))[0]

    assert after.usage.cached_tokens == 0
    assert after.token_ids != before.token_ids


def test_any_order_of_the_members_is_the_same_set(tiny_llama: kit.Bench) -> None:
    """A2: every permutation gives the same digest, members in load order."""
    members = [("lora-1", 0.5), ("lora-4", 1.0), ("dora-0", 1.0), ("soft-0", 1.0)]
    sets = [tiny_llama.set(*order).expert_set for order in itertools.permutations(members)]

    assert len(set(sets)) == 1
    assert tiny_llama.set(("lora-1", 0.6), *members[1:]).expert_set.digest != sets[0].digest


def test_a_permuted_set_gives_the_same_tokens(tiny_llama: kit.Bench) -> None:
    """A2: naming order does not matter to the answer either."""
    (prompt,) = kit.prompts(1, 24, VOCABULARY, seed=33)
    names = ["lora-1", "dora-0", "soft-0"]

    answers = tiny_llama.run_all(*((prompt, tiny_llama.set(*order)) for order in itertools.permutations(names)))

    assert len({answer.token_ids for answer in answers}) == 1


def test_ten_experts_are_accepted_and_eleven_refused(tiny_llama: kit.Bench) -> None:
    """Mission: at most ten experts; this is the door of the Python interface."""
    ten = [f"lora-{i}" for i in range(10)]

    assert len(tiny_llama.set(*ten).planned) == MAX_EXPERTS
    with pytest.raises(InvalidRequest, match="11 experts; at most 10"):
        tiny_llama.set(*ten, "rslora")


def test_a_set_that_needs_too_many_ranks_is_refused_with_the_sum(tiny_llama: kit.Bench) -> None:
    """A2, deliver 4: refused before the engine, with the sum spelled out."""
    wide = tiny.make_adapter(tiny_llama.scratch / "wide", tiny_llama.base, tiny.lora(250), seed=50)
    tiny_llama.add("wide", wide)

    with pytest.raises(Overloaded, match=r"250 \(expert-wide\) = 260, but a slot holds 256"):
        tiny_llama.set("lora-9", "wide")


def test_rules_of_the_manifests_hold(tiny_llama: kit.Bench) -> None:
    """formats.md 1.6: requires, incompatible_with and max_chain, each refusal naming the way out; once each."""
    folder = tiny_llama.adapters["expert-lora-0"]
    tiny_llama.add("needy", folder, requires=["expert-lora-1@>=1.0.0,<2.0.0"])
    tiny_llama.add("future", folder, requires=["expert-lora-1@>=2.0.0"])
    tiny_llama.add("loner", folder, incompatible_with=["expert-lora-2@*"], max_chain=2)

    assert len(tiny_llama.set("needy", "lora-1").planned) == 2
    with pytest.raises(IncompatibleSet, match="add expert-lora-1 to the request"):
        tiny_llama.set("needy")
    with pytest.raises(IncompatibleSet, match=r"the set has expert-lora-1@1\.0\.0"):
        tiny_llama.set("future", "lora-1")
    with pytest.raises(IncompatibleSet, match="incompatible with expert-lora-2"):
        tiny_llama.set("loner", "lora-2")
    with pytest.raises(IncompatibleSet, match="at most 2"):
        tiny_llama.set("loner", "lora-1", "lora-3")
    with pytest.raises(InvalidRequest, match="occurs twice"):
        tiny_llama.set("lora-1", "lora-1")
    with pytest.raises(UnknownExpert, match="expert-cli install expert-nobody"):
        tiny_llama.set("nobody")


def test_load_order_follows_the_category_bands(tiny_llama: kit.Bench) -> None:
    """Mission: format, language, tech, domain, task; whatever order the caller names."""
    folder = tiny_llama.adapters["expert-lora-0"]
    bands = {"format": 1, "language": 3, "tech": 6, "domain": 8, "task": 10}
    for category, load_order in bands.items():
        tiny_llama.add(f"in-{category}", folder, category=category, load_order=load_order)

    planned = tiny_llama.set("in-task", "in-domain", "in-format", "in-tech", "in-language").planned

    assert [entry.category.value for entry in planned] == list(bands)

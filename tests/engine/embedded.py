"""Prompts and requests for the embedded base."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import kit

from expert_system.engine.sets import Composed

TOPICS = ("rivers", "bread", "trains", "the moon", "chess", "glass", "whales", "volcanoes", "paper", "music")
QUESTIONS = (
    "Tell me something about {}.",
    "Write two sentences on {} for a child.",
    "List three facts about {}.",
    "Why do people care about {}?",
    "Question: what is known of {}? Answer:",
)
PROMPTS = [question.format(topic) for question, topic in itertools.product(QUESTIONS, TOPICS)]


def encoded(bench: kit.Bench, count: int) -> list[tuple[int, ...]]:
    """The first prompts under the base's tokenizer."""
    run = kit.loop().run_until_complete
    return [run(bench.engine.tokenize(prompt)) for prompt in PROMPTS[:count]]


def mixed(bench: kit.Bench, count: int) -> list[tuple[Sequence[int], Composed | None]]:
    """Requests, half of them with experts, of as many sets as there are slots."""
    sets = [bench.set("strong"), bench.set("wide"), bench.set("strong", "wide")]
    prompts = encoded(bench, count)
    return [(prompt, None if i % 2 else sets[(i // 2) % 3]) for i, prompt in enumerate(prompts)]

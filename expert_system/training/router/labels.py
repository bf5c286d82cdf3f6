"""What the encoder's heads tell, and what is right for an example.

    capabilities of the experts that train -> labels of each head
    example -> target distribution of each head

Promise: the words are those of manifests' capabilities; what is rare is "other", and nothing of the kind is "none".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from expert_system.training.router.corpus import Corpus, Role
from expert_system.training.router.examples import Example

KIND_OF = {"format": "format", "language": "language", "technology": "tech", "task": "task"}
"""Each head beside "need", and the kind of capability that its labels are."""
NONE = "none"
OTHER = "other"
NEEDED = "expert"
WITHOUT_EXPERTS = ("question-answering", "translation")
"""Tasks that prompts without an expert have."""
COMMON = 2
"""Experts that share a label before it counts as one; official experts' labels and formats always do."""

Labels = Mapping[str, tuple[str, ...]]


def labels_of(corpus: Corpus) -> dict[str, tuple[str, ...]]:
    """The labels of every head, from the experts that train."""
    found: dict[str, tuple[str, ...]] = {}
    for head, kind in KIND_OF.items():
        counts: Counter[str] = Counter()
        always = set(WITHOUT_EXPERTS) if head == "task" else set()
        for expert in corpus.experts.values():
            if expert.role not in (Role.OFFICIAL, Role.TRAIN):
                continue
            values = values_of(expert.capabilities, kind)
            counts.update(values)
            if expert.role is Role.OFFICIAL or head != "task":
                always.update(values)
        known = sorted(always | {value for value, count in counts.items() if count >= COMMON})
        found[head] = (*known, OTHER, NONE)
    found["need"] = (NEEDED, NONE)
    return found


def values_of(capabilities: tuple[str, ...], kind: str) -> list[str]:
    """The values of one kind: "sql" of "tech:sql"."""
    return [value for found in capabilities for name, _, value in [found.partition(":")] if name == kind]


def targets_of(example: Example, corpus: Corpus, labels: Labels) -> dict[str, NDArray[np.float32]]:
    """Head -> (labels,) a distribution."""
    experts = [corpus.experts[name] for name in example.experts]
    targets = {"need": _distribution([NEEDED if experts else NONE], labels["need"])}
    for head, kind in KIND_OF.items():
        values = [value for expert in experts for value in values_of(expert.capabilities, kind)]
        if head == "task" and not experts:
            values = [example.task]
        targets[head] = _distribution(values or [NONE], labels[head])
    return targets


def _distribution(values: list[str], labels: tuple[str, ...]) -> NDArray[np.float32]:
    row = np.zeros(len(labels), dtype=np.float32)
    for value in values:
        row[labels.index(value if value in labels else OTHER)] += 1.0 / len(values)
    return row

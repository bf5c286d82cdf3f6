"""Sampling parameters for a plan: what the kind of task asks for, under what the experts and the caller say.

    caller > experts' manifests, later category first > the router, by task, then by category -> value (source)

Promise: what the caller set is never changed, and each value names who set it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from expert_system.domain import Category, Sampling
from expert_system.package.manifest import Manifest

COLD = Sampling(temperature=0.0)
WARM = Sampling(temperature=0.8, top_p=0.95)

BY_TASK: Mapping[str, Sampling] = {
    **dict.fromkeys(
        (
            "anonymisation",
            "classification",
            "coding",
            "customer-support",
            "extraction",
            "grammar-correction",
            "query-writing",
            "sentiment",
            "translation",
        ),
        COLD,
    ),
    "summarisation": Sampling(temperature=0.2),
    "dialogue": Sampling(temperature=0.7, top_p=0.95),
    "creative-writing": WARM,
}
"""One right answer asks for none of chance; many good ones ask for some."""
BY_CATEGORY: Mapping[Category, Sampling] = {
    Category.FORMAT: COLD,
    Category.LANGUAGE: Sampling(temperature=0.3),
    Category.TECH: COLD,
    Category.DOMAIN: Sampling(temperature=0.2),
}
"""Where no task is known; the task category says nothing by itself."""

_DECODING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "stop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """What the router itself would set, and for what reason."""

    sampling: Sampling
    source: str


NO_SUGGESTION = Suggestion(sampling=Sampling(), source="router")


def suggestion(manifests: Sequence[Manifest]) -> Suggestion:
    """Defaults for the winning task or category; `manifests` are in load order, and the last one wins."""
    for manifest in reversed(manifests):
        for capability in manifest.capabilities:
            kind, _, task = capability.partition(":")
            if kind == "task" and task in BY_TASK:
                return Suggestion(sampling=BY_TASK[task], source=f"router, task {task}")
    for manifest in reversed(manifests):
        category = manifest.composition.category
        if category in BY_CATEGORY:
            return Suggestion(sampling=BY_CATEGORY[category], source=f"router, category {category}")
    return NO_SUGGESTION


def described(caller: Sampling, manifests: Sequence[Manifest], suggested: Suggestion) -> dict[str, str]:
    """Each parameter that anybody sets, as `value (source)`."""
    found: dict[str, str] = {}
    for field in fields(Sampling):
        value = getattr(caller, field.name)
        if value is not None:
            found[field.name] = _shown(value.type.value if field.name == "grammar" else value, "request")
    for manifest in reversed(manifests):
        decoding = manifest.decoding
        for name in _DECODING:
            value = getattr(decoding, name)
            if value is not None:
                found.setdefault(name, _shown(value, f"expert {manifest.name}"))
        if decoding.grammar is not None:
            found.setdefault("grammar", _shown(decoding.grammar.type.value, f"expert {manifest.name}"))
    for field in fields(Sampling):
        value = getattr(suggested.sampling, field.name)
        if value is not None:
            found.setdefault(field.name, _shown(value, suggested.source))
    return found


def _shown(value: object, source: str) -> str:
    if isinstance(value, tuple):
        text = ", ".join(repr(part) for part in value)
    elif isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, float):
        text = f"{value:g}"
    else:
        text = str(value)
    return f"{text} ({source})"

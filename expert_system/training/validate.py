"""Measure an expert on held-out cases through the served engine: base, base with worked examples, expert.

    cases -> messages -> generate (gRPC) -> verdicts -> evaluation.json + quality_metrics

Promise: the three are asked the same questions with the same sampling, and the figures are bound
to the sha256 of the cases and of the measured weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from expert_system.package.evidence import Evaluation, Interval, Measure
from expert_system.package.manifest import dump_manifest, read_manifest
from expert_system.training.cases import Case, case_of, few_shot
from expert_system.training.data.row import Messages
from expert_system.training.dataset import TEST, TRAIN, Part, generate
from expert_system.training.recipe import Recipe, read_recipe
from expert_system.training.scoring import MEASURES, PRIMARY, Verdict, interval, judge

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from expert_system.package.manifest import Manifest

SHOTS = 3
SHOWN_FAILURES = 20
BASE, FEW_SHOT, EXPERT = "base", "few_shot", "expert"
WEIGHTS = "adapter_model.safetensors"


Generate = Callable[[Sequence[Messages], str | None], Sequence[str]]
"""The served engine, as far as an evaluation needs it: answers each conversation greedily, with this expert or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What one contender said, in the cases' order."""

    texts: tuple[str, ...]
    verdicts: tuple[Verdict, ...]

    def values(self, measure: str) -> list[float]:
        """One measure for every case, 0 or 1."""
        return [float(getattr(verdict, measure)) for verdict in self.verdicts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The held-out part and the worked examples."""

    cases: tuple[Case, ...]
    shots: tuple[Case, ...]
    sha256: str


def held_out(recipe: Recipe, folder: Path) -> Held:
    """Write the test part again, and choose worked examples from the training part."""
    parts = generate(recipe.dataset, folder)
    return Held(
        cases=tuple(case_of(example) for example in parts[TEST].examples),
        shots=_shots(parts[TRAIN]),
        sha256=parts[TEST].sha256,
    )


def _shots(part: Part) -> tuple[Case, ...]:
    """The first examples in the contract's wording, each from another template."""
    contracts = [row for row in part.examples if row.tag("wording") in {None, "contract"}]
    chosen = {row.template: row for row in reversed(contracts)}
    order = [row.template for row in contracts]
    return tuple(case_of(chosen[template]) for template in list(dict.fromkeys(order))[:SHOTS])


def measure(held: Held, ask: Generate, expert: str) -> dict[str, Answers]:
    """Ask all three contenders."""
    plain = [case.messages for case in held.cases]
    shown = [few_shot(case, held.shots) for case in held.cases]
    asked: list[tuple[str, Sequence[Messages], str | None]] = [
        (BASE, plain, None),
        (FEW_SHOT, shown, None),
        (EXPERT, plain, expert),
    ]
    results: dict[str, Answers] = {}
    for name, conversations, who in asked:
        texts = tuple(ask(conversations, who))
        verdicts = tuple(judge(text, case) for text, case in zip(texts, held.cases, strict=True))
        results[name] = Answers(texts=texts, verdicts=verdicts)
    return results


def measures(results: Mapping[str, Answers]) -> tuple[Measure, ...]:
    """Every measure of every contender, and the expert's gain over the base case by case."""
    return tuple(
        Measure(
            name=name,
            base=interval(results[BASE].values(name)),
            few_shot=interval(results[FEW_SHOT].values(name)),
            expert=interval(results[EXPERT].values(name)),
            gain=_gain(results, BASE, name),
        )
        for name in MEASURES
    )


def _gain(results: Mapping[str, Answers], over: str, name: str) -> Interval:
    pairs = zip(results[EXPERT].values(name), results[over].values(name), strict=True)
    return interval([mine - theirs for mine, theirs in pairs])


def evaluate(folder: Path, ask: Generate, *, base_name: str, evaluated_at: str) -> tuple[Evaluation, dict[str, Any]]:
    """Measure the expert in a folder.

    Args:
        folder: the expert, with its recipe.json and manifest.json.
        ask: the served engine.
        base_name: the base that is served; one of the manifest's.
        evaluated_at: ISO 8601, UTC.

    Returns:
        The manifest's entry, and the full report for evaluation.json.
    """
    manifest = read_manifest(folder)
    held = held_out(read_recipe(folder / "recipe.json"), folder)
    results = measure(held, ask, manifest.name)
    binding = next(binding for binding in manifest.base_models if binding.name == base_name)
    paths = [f"{adapter.path}/{WEIGHTS}" for adapter in binding.adapters]
    evaluation = Evaluation(
        base=base_name,
        quantization=binding.validated_on[0],
        evaluated_at=evaluated_at,
        held_out_sha256=held.sha256,
        held_out_examples=len(held.cases),
        adapters={path: hashlib.sha256((folder / path).read_bytes()).hexdigest() for path in paths},
        primary=PRIMARY,
        measures=measures(results),
    )
    report = evaluation.model_dump(mode="json") | {
        "expert": manifest.name,
        "version": manifest.version,
        "command": f"expert-cli validate --expert experts/{manifest.name}",
        "gain_over_few_shot": {name: _gain(results, FEW_SHOT, name).model_dump() for name in MEASURES},
        "by_category": _by_category(held.cases, results),
        "wrong_answers_of_the_expert": _failures(held.cases, results[EXPERT]),
    }
    return evaluation, report


def _by_category(cases: Sequence[Case], results: Mapping[str, Answers]) -> dict[str, Any]:
    """The primary measure's mean for each tag."""
    table: dict[str, Any] = {}
    for tag in sorted({tag for case in cases for tag in case.tags}):
        rows = [index for index, case in enumerate(cases) if tag in case.tags]
        means = {
            name: round(sum(answers.values(PRIMARY)[row] for row in rows) / len(rows), 3)
            for name, answers in results.items()
        }
        table[tag] = {"examples": len(rows), **means}
    return table


def _failures(cases: Sequence[Case], answers: Answers) -> list[dict[str, Any]]:
    wrong = [index for index, verdict in enumerate(answers.verdicts) if not verdict.exact]
    return [
        {
            "prompt": cases[index].messages[-1]["content"],
            "expected": cases[index].answer,
            "answered": answers.texts[index],
        }
        for index in wrong[:SHOWN_FAILURES]
    ]


def record(folder: Path, evaluation: Evaluation, report: dict[str, Any]) -> None:
    """Write evaluation.json and put the figures into manifest.json, replacing those of the same base."""
    written = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    (folder / "evaluation.json").write_text(written, encoding="utf-8")
    manifest: Manifest = read_manifest(folder)
    others = tuple(entry for entry in manifest.quality_metrics if entry.base != evaluation.base)
    updated = manifest.model_copy(update={"quality_metrics": (*others, evaluation)})
    (folder / "manifest.json").write_bytes(dump_manifest(updated))

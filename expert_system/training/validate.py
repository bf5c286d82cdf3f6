"""Measure an expert on held-out cases through the served engine, beside the base and the base with worked examples.

    cases -> questions -> served engine (answers.jsonl) -> verdicts -> evaluation.json + quality_metrics

Promise: all contenders are asked the same cases with the same sampling, every case counts for every contender, and the
figures are bound to the sha256 of the cases and of the measured weights.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from expert_system.domain import Grammar, GrammarType
from expert_system.errors import ConfigError
from expert_system.extraction import extractive
from expert_system.package.evidence import EVALUATION_FILE, Evaluation
from expert_system.package.manifest import MANIFEST_FILE, dump_manifest, read_manifest
from expert_system.training.answers import TEMPERATURE, Asked, Question
from expert_system.training.cases import few_shot
from expert_system.training.checkers import check
from expert_system.training.scoring import (
    BASE,
    EXPERT,
    FEW_SHOT,
    GRAMMAR,
    gain,
    interval,
    measures,
    primary_of,
    scores,
    values,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from expert_system.package.binding import BaseBinding, Quantization
    from expert_system.training.answers import AnswerBook, Reply
    from expert_system.training.cases import Case
    from expert_system.training.checkers.verdict import Verdict
    from expert_system.training.held_out import HeldOut

WEIGHTS = "adapter_model.safetensors"
SHOWN_FAILURES = 20

Plan = dict[str, tuple[Question, ...]]
"""What each contender is asked, in the cases' order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The expert that is measured, and the base it is measured on."""

    name: str
    version: str
    asked: Asked
    base: str
    """A `base_models[].name` of its manifest."""
    base_digest: str
    quantization: Quantization
    adapters: Mapping[str, str]
    """Each of its adapter_model.safetensors for this base, and its sha256."""
    dtype: str
    """Number format that the server computed in."""


class HeldTo(StrEnum):
    """What the grammar allows that an expert may be measured with."""

    SCHEMA = "schema"
    QUOTES = "quotes"
    """The schema, with strings and numbers that stand in the last message: see `expert_system.extraction`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What each contender said and what that is worth, in the cases' order."""

    replies: Mapping[str, tuple[Reply, ...]]
    verdicts: Mapping[str, tuple[Verdict, ...]]


def measured_adapters(binding: BaseBinding, files: Mapping[str, str]) -> dict[str, str]:
    """The weights that an evaluation on one base is bound to: each file by its path, and its sha256."""
    return {path: files[path] for path in (f"{adapter.path}/{WEIGHTS}" for adapter in binding.adapters)}


def plan(held: HeldOut, subject: Subject, *, max_tokens: int, held_to: HeldTo | None) -> Plan:
    """What to ask whom.

    Args:
        held: the cases and the worked examples.
        subject: the expert and the base.
        max_tokens: of each answer, at most.
        held_to: also ask the expert held to this; every case needs a schema.

    Raises:
        ConfigError: a case has no schema to be held to.
    """

    def asked(messages: Any, *, expert: bool = False, grammar: Grammar | None = None) -> Question:
        return Question(
            messages=messages,
            base_digest=subject.base_digest,
            dtype=subject.dtype,
            experts=(subject.asked,) if expert else (),
            grammar=grammar,
            max_tokens=max_tokens,
        )

    found: Plan = {BASE: tuple(asked(case.messages) for case in held.cases)}
    if held.shots:
        found[FEW_SHOT] = tuple(asked(few_shot(case, held.shots)) for case in held.cases)
    found[EXPERT] = tuple(asked(case.messages, expert=True) for case in held.cases)
    if held_to is not None:
        found[GRAMMAR] = tuple(
            asked(case.messages, expert=True, grammar=_grammar(case, held_to)) for case in held.cases
        )
    return found


def _grammar(case: Case, held_to: HeldTo) -> Grammar:
    if case.schema is None:
        raise ConfigError("a case has no schema, so there is no grammar to attach; leave --grammar and --quote out")
    schema = json.dumps(case.schema)
    if held_to is HeldTo.SCHEMA:
        return Grammar(type=GrammarType.JSON_SCHEMA, source=schema)
    return extractive(schema, case.messages[-1]["content"])


def judge(cases: Sequence[Case], asked: Plan, book: AnswerBook) -> Results:
    """Check every answer of every contender.

    Raises:
        ConfigError: a question has no answer; an evaluation never leaves one out.
    """
    replies: dict[str, tuple[Reply, ...]] = {}
    verdicts: dict[str, tuple[Verdict, ...]] = {}
    for who, questions in asked.items():
        found = [book.get(question) for question in questions]
        given = tuple(reply for reply in found if reply is not None)
        if len(given) != len(cases):
            raise ConfigError(f"{len(cases) - len(given)} of {len(cases)} questions to {who} have no answer; run again")
        replies[who] = given
        verdicts[who] = tuple(check(case.kind, case, reply.text) for case, reply in zip(cases, given, strict=True))
    return Results(replies=replies, verdicts=verdicts)


def evaluation_of(held: HeldOut, subject: Subject, results: Results, *, evaluated_at: str) -> Evaluation:
    """The manifest's entry.

    Args:
        held: what was asked.
        subject: who was measured.
        results: what came out.
        evaluated_at: ISO 8601, UTC.
    """
    return Evaluation(
        base=subject.base,
        quantization=subject.quantization,
        evaluated_at=evaluated_at,
        held_out_sha256=held.sha256,
        held_out_examples=len(held.cases),
        adapters=dict(subject.adapters),
        primary=primary_of(results.verdicts[EXPERT]),
        measures=measures(results.verdicts),
    )


def report_of(
    held: HeldOut,
    subject: Subject,
    results: Results,
    evaluation: Evaluation,
    *,
    command: str,
    max_tokens: int,
    held_to: HeldTo | None,
) -> dict[str, Any]:
    """The whole report: the manifest's entry, and what people want to know besides."""
    verdicts = results.verdicts
    names = [measure.name for measure in evaluation.measures]
    few = verdicts.get(FEW_SHOT)
    over_few_shot = {
        name: gain(values(verdicts[EXPERT], name), values(few, name)).model_dump() for name in names if few is not None
    }
    return evaluation.model_dump(mode="json", exclude_none=True) | {
        "expert": subject.name,
        "version": subject.version,
        "command": command,
        "held_out_source": held.source,
        "few_shot_examples": len(held.shots),
        "dtype": subject.dtype,
        "sampling": {"temperature": TEMPERATURE, "max_tokens": max_tokens},
        "grammar": held_to,
        "checks": _counted([case.kind for case in held.cases]),
        "refused_requests": {who: sum(bool(r.refused) for r in replies) for who, replies in results.replies.items()},
        "cut_off_answers": {
            who: sum(r.finish_reason == "length" for r in replies) for who, replies in results.replies.items()
        },
        "gain_over_few_shot": over_few_shot,
        "by_category": by_category(held.cases, verdicts),
        "wrong_answers_of_the_expert": _failures(held.cases, results),
    }


def by_category(cases: Sequence[Case], verdicts: Mapping[str, Sequence[Verdict]]) -> dict[str, Any]:
    """The primary measure's mean for each tag, and the expert's interval."""
    table: dict[str, Any] = {}
    for tag in sorted({tag for case in cases for tag in case.tags}):
        rows = [index for index, case in enumerate(cases) if tag in case.tags]
        each = {who: [scores(judged)[row] for row in rows] for who, judged in verdicts.items()}
        means = {who: round(sum(data) / len(data), 3) for who, data in each.items()}
        spread = interval(each[EXPERT])
        table[tag] = {"examples": len(rows), **means, "expert_interval": [spread.low, spread.high]}
    return table


def _failures(cases: Sequence[Case], results: Results) -> list[dict[str, Any]]:
    judged = zip(cases, results.replies[EXPERT], results.verdicts[EXPERT], strict=True)
    wrong = [(case, reply, verdict) for case, reply, verdict in judged if not verdict.right]
    return [
        {
            "prompt": case.messages[-1]["content"],
            "expected": case.answer,
            "answered": reply.text,
            "problem": reply.refused or verdict.problem,
        }
        for case, reply, verdict in wrong[:SHOWN_FAILURES]
    ]


def _counted(words: Sequence[str]) -> dict[str, int]:
    return {word: words.count(word) for word in sorted(set(words))}


def record(folder: Path, evaluation: Evaluation, report: Mapping[str, Any]) -> None:
    """Write evaluation.json and put the figures into manifest.json, replacing those of the same base.

    Pairs that composition tests wrote into evaluation.json stay there as long as the weights are the same.
    """
    file = folder / EVALUATION_FILE
    before = json.loads(file.read_bytes()) if file.is_file() else {}
    stays = before.get("adapters") == dict(evaluation.adapters) and "composition" in before
    whole = {**report, **({"composition": before["composition"]} if stays else {})}
    written = json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
    manifest = read_manifest(folder)
    others = tuple(entry for entry in manifest.quality_metrics if entry.base != evaluation.base)
    updated = manifest.model_copy(update={"quality_metrics": (*others, evaluation)})
    replace_file(file, written.encode())
    replace_file(folder / MANIFEST_FILE, dump_manifest(updated))


def replace_file(file: Path, data: bytes) -> None:
    """Write aside and rename, so that a kill leaves the old file or the new one."""
    aside = file.with_name(f".{file.name}.new")
    aside.write_bytes(data)
    aside.replace(file)

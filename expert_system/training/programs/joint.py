"""Cases that need two experts, made from the held-out cases of each.

    held-out cases of one expert -> what the other one can do is put in the way, or asked for besides -> joint cases

Promise: a joint case has one right answer, known from the case it is made of, and the same cases come out every time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from expert_system.errors import ConfigError
from expert_system.training.cases import Case
from expert_system.training.programs.grammar import misspelt

SEED = 20261126
COUNT = 100
"""Of each pair, at most."""
EXTRACT = "Extract the data as JSON matching this schema.\nSchema: {schema}\nText: {text}"
"""The contract of expert-json-parser."""
SQL_CONTRACT = re.compile(r"Write one SQLite query\.\nSchema: (?P<schema>.*)\nQuestion: (?P<question>.*)", re.DOTALL)
LABEL_CONTRACT = re.compile(r"Label the text with one of: (?P<labels>.*)\nText: (?P<text>.*)", re.DOTALL)
RETAIL_CONTRACT = re.compile(r"Answer the shop customer by the policy\.\nCustomer: (?P<text>.*)", re.DOTALL)
WORD = re.compile(r"\b[a-z]{5,}\b")
MISSPELT = 2
"""Words of a question."""


def misspelt_questions(cases: Sequence[Case], rng: Random) -> list[Case]:
    """english-basic and sql: questions with misspelt words, none of them a name in the schema or a value."""
    found = []
    for case, parts in _in_contract(cases, SQL_CONTRACT):
        named = f"{parts['schema']} {case.answer}".lower().replace("_", " ")
        taken = {word.removesuffix("s") for word in WORD.findall(named)}
        words = [match for match in WORD.finditer(parts["question"]) if match[0].removesuffix("s") not in taken]
        if len(words) < MISSPELT:
            continue
        question = parts["question"]
        for match in sorted(rng.sample(words, MISSPELT), key=lambda match: -match.start()):
            question = question[: match.start()] + misspelt(match[0], frozenset(), rng) + question[match.end() :]
        text = f"Write one SQLite query.\nSchema: {parts['schema']}\nQuestion: {question}"
        found.append(replace(case, messages=({"role": "user", "content": text},), tags=("pair:english-basic+sql",)))
    return found


def labels_as_json(cases: Sequence[Case], rng: Random) -> list[Case]:
    """classifier and json-parser: the label is asked for as the one key of a JSON object."""
    found = []
    for case, parts in _in_contract(cases, LABEL_CONTRACT):
        key = rng.choice(("label", "topic", "class"))
        schema = {
            "type": "object",
            "properties": {key: {"type": "string", "enum": parts["labels"].split(", ")}},
            "required": [key],
        }
        found.append(_extraction(schema, parts["text"], {key: case.answer}, "pair:classifier+json-parser"))
    return found


def messages_as_json(cases: Sequence[Case], rng: Random) -> list[Case]:
    """json-parser and retail: what a customer wants, and about which product, under a schema of the caller's."""
    found = []
    for case, parts in _in_contract(cases, RETAIL_CONTRACT):
        answer = json.loads(case.answer)
        if answer["product"] is None or case.schema is None:
            continue
        intents = case.schema["properties"]["intent"]["enum"]
        offered = [answer["intent"], *rng.sample([name for name in intents if name != answer["intent"]], 3)]
        rng.shuffle(offered)
        properties = {"product": {"type": "string"}, "intent": {"type": "string", "enum": offered}}
        order = rng.sample(sorted(properties), 2)
        schema = {"type": "object", "properties": {key: properties[key] for key in order}, "required": order}
        wanted = {key: answer[key] for key in order}
        found.append(_extraction(schema, parts["text"], wanted, "pair:json-parser+retail"))
    return found


Maker = Callable[[Sequence[Case], Random], list[Case]]
PAIRS: Mapping[tuple[str, str], tuple[str, Maker]] = {
    ("expert-english-basic", "expert-sql"): ("expert-sql", misspelt_questions),
    ("expert-json-parser", "expert-classifier"): ("expert-classifier", labels_as_json),
    ("expert-json-parser", "expert-retail"): ("expert-retail", messages_as_json),
}
"""Of each pair: whose held-out cases its joint cases are made of (and stored with), and how."""


def joint_cases(pair: tuple[str, str], cases: Sequence[Case]) -> list[Case]:
    """The joint cases of a pair.

    Args:
        pair: one of PAIRS.
        cases: the held-out cases of the expert that PAIRS names for it.

    Raises:
        ConfigError: no case can be made of them.
    """
    found = PAIRS[pair][1](cases, Random(f"{SEED}/{'+'.join(pair)}"))
    if not found:
        raise ConfigError(f"no joint case of {' and '.join(pair)} can be made of these held-out cases")
    return found[:COUNT]


def _in_contract(cases: Sequence[Case], contract: re.Pattern[str]) -> list[tuple[Case, Mapping[str, str]]]:
    matches = ((case, contract.fullmatch(case.messages[-1]["content"])) for case in cases)
    return [(case, match.groupdict()) for case, match in matches if match is not None]


def _extraction(schema: Mapping[str, Any], text: str, answer: Mapping[str, Any], tag: str) -> Case:
    asked = EXTRACT.format(schema=json.dumps(schema, separators=(",", ":"), ensure_ascii=False), text=text)
    return Case(
        messages=({"role": "user", "content": asked},),
        answer=json.dumps(answer, ensure_ascii=False),
        schema=schema,
        tags=(tag,),
    )

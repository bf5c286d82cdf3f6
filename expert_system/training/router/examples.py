"""Examples from templates: gaps filled, and each prompt told in several ways.

    Corpus + split + seed -> fill slots -> paraphrase (polite, wordy, typos, long ...) -> Example ...

Promise: the same corpus, split and seed give the same examples; frames and fillers of one split are in no other.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from expert_system.training.router.corpus import DATA, Corpus, Role, Split, Template

SEED = 20261122
TRANSLATIONS_FILE = "languages.json"
FRESH_FILE = "fresh.json"
MAX_LOG_LINES = 60
NOISE_SHARE = 6
"""As many logs and random texts as so many templates would give."""

_SLOT = re.compile(r"\{(\w+)\}")
_WORD = re.compile(r"[A-Za-z]{5,}")


class Kind(StrEnum):
    """How a prompt is told."""

    PLAIN = "plain"
    POLITE = "polite"
    WORDY = "wordy"
    TERSE = "terse"
    TYPOS = "typos"
    CASE = "case"
    """All in capitals, or all in small letters without the last point."""
    BEFORE = "before"
    """Behind a paragraph of background."""
    LOG = "log"
    """Before or behind many lines of a log."""


KINDS = {
    Kind.PLAIN: 8,
    Kind.POLITE: 3,
    Kind.WORDY: 2,
    Kind.TERSE: 1,
    Kind.TYPOS: 2,
    Kind.CASE: 1,
    Kind.BEFORE: 1,
    Kind.LOG: 1,
}
"""Each kind and its share in what is measured."""
PRACTISED = {**KINDS, Kind.PLAIN: 6, Kind.TERSE: 2, Kind.TYPOS: 5, Kind.CASE: 2, Kind.BEFORE: 3}
"""Shares in training: more of what is hard to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One prompt and what is right for it."""

    text: str
    experts: tuple[str, ...]
    kind: Kind
    language: str
    family: str
    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """Examples for each template, by what it is about."""

    official: int
    topic: int
    none: int
    kinds: Mapping[Kind, int]


TRAINING = Amounts(official=24, topic=7, none=16, kinds=PRACTISED)
MEASURING = Amounts(official=10, topic=4, none=8, kinds=KINDS)


def generate(corpus: Corpus, split: Split, amounts: Amounts, seed: int = SEED) -> tuple[Example, ...]:
    """The examples of a split, in a shuffled order; without doubles."""
    found: dict[str, Example] = {}
    for template in corpus.templates:
        if template.split is not split:
            continue
        chance = random.Random(f"{seed} {split} {template.text}")
        for example in _variants(corpus, template, amounts, chance):
            found.setdefault(example.text, example)
    for example in _noise(corpus, split, amounts.none * NOISE_SHARE, random.Random(f"{seed} {split} noise")):
        found.setdefault(example.text, example)
    examples = list(found.values())
    random.Random(f"{seed} {split}").shuffle(examples)
    return tuple(examples)


def read_translations() -> tuple[Example, ...]:
    """A few prompts in several languages each, for measuring only: they tell what reading English alone costs."""
    return _read(DATA / TRANSLATIONS_FILE)


def read_fresh() -> tuple[Example, ...]:
    """Whole prompts written once the model was finished, for measuring only: nothing was chosen by them."""
    return _read(DATA / FRESH_FILE)


def _read(file: Path) -> tuple[Example, ...]:
    content = json.loads(file.read_bytes())
    return tuple(
        Example(
            text=text,
            experts=tuple(entry["experts"]),
            kind=Kind.PLAIN,
            language=language,
            family="+".join(entry["experts"]) or "none",
            task="none",
        )
        for entry in content["prompts"]
        for language, text in entry["texts"].items()
    )


def fill(text: str, corpus: Corpus, chance: random.Random) -> str:
    """Fill the gaps, those inside of slots' values too."""
    for _ in range(2):
        text = _SLOT.sub(lambda match: _value(match, corpus, chance), text)
    return text


def _value(match: re.Match[str], corpus: Corpus, chance: random.Random) -> str:
    values = corpus.slots.get(match[1])
    return chance.choice(values) if values else match[0]


def _amount(corpus: Corpus, template: Template, amounts: Amounts) -> int:
    if not template.experts:
        return amounts.none
    official = any(corpus.experts[name].role is Role.OFFICIAL for name in template.experts)
    return amounts.official if official else amounts.topic


def _variants(corpus: Corpus, template: Template, amounts: Amounts, chance: random.Random) -> Iterator[Example]:
    others = _amount(corpus, template, amounts) - 1
    kinds = [Kind.PLAIN, *chance.choices(list(amounts.kinds), list(amounts.kinds.values()), k=others)]
    for kind in kinds:
        text = fill(template.text, corpus, chance)
        yield Example(
            text=_told(text, kind, template, corpus, chance),
            experts=template.experts,
            kind=kind,
            language=template.language,
            family=template.family,
            task=template.task,
        )


def _told(text: str, kind: Kind, template: Template, corpus: Corpus, chance: random.Random) -> str:
    # Frames are English; around another language they would tell the answer.
    if kind in (Kind.POLITE, Kind.WORDY, Kind.TERSE, Kind.BEFORE) and template.language != "en":
        return text
    match kind:
        case Kind.POLITE | Kind.WORDY | Kind.TERSE:
            return chance.choice(corpus.wraps[kind][template.split]).replace("{}", text)
        case Kind.BEFORE:
            background = fill(chance.choice(corpus.wraps[kind][template.split]), corpus, chance)
            return f"{background}\n\n{text}"
        case Kind.LOG:
            lines = "\n".join(log_lines(corpus, template.split, chance.randint(4, MAX_LOG_LINES), chance))
            return f"{text}\n{lines}" if chance.random() < 0.5 else f"{lines}\n{text}"
        case Kind.TYPOS:
            return typos(text, chance)
        case Kind.CASE:
            return text.upper() if chance.random() < 0.3 else text.lower().rstrip(".?!")
    return text


def typos(text: str, chance: random.Random) -> str:
    """Drop, double or swap a letter inside one word in six, and in one word at least."""
    words = list(_WORD.finditer(text))
    if not words:
        return text
    for match in sorted(chance.sample(words, max(1, len(words) // 6)), key=lambda found: -found.start()):
        word = match[0]
        place = chance.randrange(1, len(word) - 2)
        changed = chance.choice(
            (
                word[:place] + word[place + 1 :],
                word[:place] + word[place] * 2 + word[place + 1 :],
                word[:place] + word[place + 1] + word[place] + word[place + 2 :],
            )
        )
        text = text[: match.start()] + changed + text[match.end() :]
    return text


def log_lines(corpus: Corpus, split: Split, count: int, chance: random.Random) -> Iterator[str]:
    """Lines of a log, with or without a time."""
    with_time = chance.random() < 0.7
    for _ in range(count):
        moment = f"2026-{chance.randint(1, 12):02}-{chance.randint(1, 28):02} {chance.randint(0, 23):02}:{chance.randint(0, 59):02}:{chance.randint(0, 59):02} "
        level = chance.choice(("INFO ", "WARN ", "ERROR ", "DEBUG ", ""))
        line = fill(chance.choice(corpus.wraps["log"][split]), corpus, chance)
        yield f"{moment if with_time else ''}{level}{line}"


def _noise(corpus: Corpus, split: Split, amount: int, chance: random.Random) -> Iterator[Example]:
    """Prompts that nobody wrote: logs alone, and characters at random."""
    for turn in range(amount):
        logs = turn % 2 == 0
        text = (
            "\n".join(log_lines(corpus, split, chance.randint(3, MAX_LOG_LINES), chance))
            if logs
            else "".join(chr(chance.randrange(32, 0x250)) for _ in range(chance.randint(5, 120)))
        )
        family = "logs" if logs else "random characters"
        yield Example(text=text, experts=(), kind=Kind.PLAIN, language="none", family=family, task="none")


def shares(examples: Sequence[Example]) -> dict[str, int]:
    """How many examples each family has."""
    found: dict[str, int] = {}
    for example in examples:
        found[example.family] = found.get(example.family, 0) + 1
    return dict(sorted(found.items()))

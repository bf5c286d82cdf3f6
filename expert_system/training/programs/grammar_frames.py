"""Correct English sentences that know where they could go wrong.

    frame + words -> pieces of text and sites, each with its right form and some wrong ones

Promise: what a frame's verb, noun or article has to agree with stands in the frame, so each site has one right form.

A frame is text with slots `{...}` and sites `[right|wrong#kind|wrong#kind]`; a slot may expand to text with sites.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from expert_system.training.programs.sources import SLOT

if TYPE_CHECKING:
    from random import Random

    from expert_system.training.grammar import Grammar

ADJECTIVE_SHARE = 0.4
PLURAL_OBJECT_SHARE = 0.25
PRONOUNS = frozenset({"he", "she", "they", "we", "you"})

_SITE = re.compile(r"\[([^\[\]]*)\]")
_SIBILANT = ("s", "x", "z", "ch", "sh")
_LONG_U = ("uni", "use", "eu", "one")
"""Starts of words that are written with a vowel and spoken with a consonant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """A wrong form."""

    text: str
    kind: str
    """What is wrong, such as "article"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch of a sentence; a site when it has wrong forms."""

    right: str
    wrong: tuple[Wrong, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """A verb's forms and what it can be done to."""

    base: str
    third: str
    past: str
    participle: str
    ing: str
    objects: tuple[str, ...]


class Words:
    """The words of one part, and random numbers to draw them with."""

    def __init__(self, data: Mapping[str, Any], grammar: Grammar, rng: Random) -> None:
        """Keep the part's pools."""
        self._data = data
        self._grammar = grammar
        self._rng = rng

    def sentence(self) -> tuple[Piece, ...]:
        """Draw a frame and fill it; the first piece starts with a capital."""
        frame = self._rng.choice(self._data["frames"])
        slots = self._slots()
        text = frame
        while (filled := SLOT.sub(lambda found: slots[found[1]], text)) != text:
            text = filled
        return _capitalised(_pieces(text))

    def _slots(self) -> dict[str, str]:
        """A text for every slot that a frame can have; the subjects differ from each other."""
        rng, verb = self._rng, _verb(self._rng.choice(self._data["verbs"]))
        singular = [self._subject("sg"), self._subject("sg", pronouns=False)]
        slots = {"sg": singular[0], "sg2": singular[1], "pl": self._subject("pl")}
        while slots["sg2"] == slots["sg"]:
            slots["sg2"] = self._subject("sg", pronouns=False)
        noun, other = rng.sample(self._data["nouns"], 2)
        slots |= _forms(verb) | {
            "o": self._phrase(rng.choice(verb.objects), several=rng.random() < PLURAL_OBJECT_SHARE),
            "np": self._phrase(noun, several=False),
            "npl": self._phrase(other, several=True),
            "n": noun.partition("/")[0],
            "plural": f"[{plural(noun)}|{noun.partition('/')[0]}#plural]",
            "plural_noun": plural(noun),
            "adj": rng.choice(self._data["adjectives"]),
            "comp": self._comparative(),
        }
        for slot, pool in _POOLS.items():
            slots[slot] = rng.choice(self._data[pool])
        return slots

    def _subject(self, pool: str, *, pronouns: bool = True) -> str:
        known = [subject for subject in self._data[pool] if pronouns or subject not in PRONOUNS]
        while True:
            subject = self._grammar.expand(self._rng.choice(known), self._rng)
            one, _, other = subject.partition(" and ")
            if one != other:
                return subject

    def _phrase(self, noun: str, *, several: bool) -> str:
        """A noun with its article or number and perhaps an adjective."""
        singular = noun.partition("/")[0]
        if several:
            return f"{self._rng.choice(self._data['numbers'])} [{plural(noun)}|{singular}#plural]"
        words = singular
        if self._rng.random() < ADJECTIVE_SHARE and " " not in singular:
            adjective = self._rng.choice([word for word in self._data["adjectives"] if word != singular])
            words = f"[{adjective} {singular}|{singular} {adjective}#order]"
        right = article(words.lstrip("["))
        other = "a" if right == "an" else "an"
        return f"[{right}|{other}#article|#article] {words}"

    def _comparative(self) -> str:
        right, _, wrong = self._rng.choice(self._data["comparatives"]).partition(": ")
        return "[" + "|".join([right, *(f"{form}#comparison" for form in wrong.split(", "))]) + "]"


def article(words: str) -> str:
    """The indefinite article before these words."""
    spoken_consonant = words.startswith(_LONG_U)
    return "an" if words[0] in "aeiou" and not spoken_consonant else "a"


def plural(noun: str) -> str:
    """The plural of a noun; "child/children" brings its own."""
    singular, _, own = noun.partition("/")
    if own:
        return own
    if singular.endswith("y") and singular[-2] not in "aeiou":
        return singular[:-1] + "ies"
    if singular.endswith(_SIBILANT) or singular == "tomato":
        return singular + "es"
    return singular.removesuffix("fe") + "ves" if singular.endswith("fe") else singular + "s"


_POOLS = {
    "mass": "mass",
    "place": "places",
    "vehicle": "vehicles",
    "period": "periods",
    "ago": "ago",
    "often": "often",
    "day": "days",
    "month": "months",
    "clock": "clocks",
}
"""Slots that are one word of a pool."""


def _verb(written: str) -> Verb:
    forms, _, objects = written.partition(": ")
    base, third, past, participle, ing = forms.split()
    return Verb(base=base, third=third, past=past, participle=participle, ing=ing, objects=tuple(objects.split(", ")))


def _forms(verb: Verb) -> dict[str, str]:
    """Each form as a site, and the plain forms that sites of a frame are made of."""
    return {
        "3s": _site(verb.third, "agreement", verb.base),
        "base": _site(verb.base, "agreement", verb.third),
        "past": _site(verb.past, "tense", verb.base, verb.third),
        "pp": _site(verb.participle, "tense", verb.past, verb.base),
        "ing": _site(verb.ing, "tense", verb.base),
        "inf": _site(verb.base, "form", verb.third, verb.past, verb.ing),
        "vb": verb.base,
        "v3": verb.third,
        "ving": verb.ing,
    }


def _site(right: str, kind: str, *wrong: str) -> str:
    others = dict.fromkeys(form for form in wrong if form != right)
    return "[" + "|".join([right, *(f"{form}#{kind}" for form in others)]) + "]"


def _pieces(text: str) -> list[Piece]:
    """Cut a filled frame into plain stretches and sites."""
    pieces: list[Piece] = []
    end = 0
    for found in _SITE.finditer(text):
        right, *wrong = found[1].split("|")
        forms = [form.rpartition("#") for form in wrong]
        pieces.append(Piece(right=text[end : found.start()]))
        pieces.append(Piece(right=right, wrong=tuple(Wrong(text=form, kind=kind) for form, _, kind in forms)))
        end = found.end()
    return [*pieces, Piece(right=text[end:])]


def _capitalised(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    """Start the first word of a sentence with a capital, whichever form it has."""
    at = next(index for index, piece in enumerate(pieces) if piece.right)
    first = pieces[at]
    wrong = tuple(Wrong(text=_upper(form.text), kind=form.kind) for form in first.wrong)
    return (*pieces[:at], Piece(right=_upper(first.right), wrong=wrong), *pieces[at + 1 :])


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]

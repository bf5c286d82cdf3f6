"""Families made on the spot: a few things, and for each some of what can be said about any thing.

    things + heads + random numbers -> Family

Promise: no two fields of a family can be meant by one key, so the same word asks for another value when it stands
under another thing; and a family's keys are among `keys()`, which a test holds against the held-out part's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from expert_system.training.families import Family, Field, Group, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

THING = "{t}"
"""Stands for the thing in a head's wordings."""
OPENING = f"The {THING} "
"""A wording that begins so goes on with a verb, and can share its subject with another."""
THINGS = (1, 1, 2, 2, 3)
"""How many things a family is about, each number as likely as it is often here."""
HEADS_OF_A_THING = (3, 6)
"""At least and at most; a family about one thing gets twice as many."""
LEADS = 3
BARE_SHARE = 0.7
"""How often a key may leave the thing out, where only one thing has such a field."""
PAIRS_OF_A_THING = (0, 1, 1, 2)
"""Each number as likely as it is often here."""
NESTED_SHARE = 0.4
"""How often fields of one thing are nested."""
IN_A_LEAD = (Kind.TEXT, Kind.INTEGER, Kind.NUMBER, Kind.ENUM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Something that can be said about any thing."""

    field: Field
    """Its keys without the thing; its wordings with `{t}` where the thing stands."""
    clauses: tuple[str, ...]
    """What may follow the thing between commas, such as "owned by {}"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two things of one kind that a sentence says side by side, so that only the wording tells which is which."""

    fields: tuple[Field, ...]
    """Without sentences of their own."""
    say: tuple[str, ...]
    """Wordings with `{t}` where the thing stands and a slot for each field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """What families are made of, and the share of examples whose family is made on the spot."""

    share: float
    things: tuple[str, ...]
    heads: tuple[Head, ...]
    pairs: tuple[Pair, ...]

    def family(self, rng: Random) -> Family:
        """Make a family."""
        count = rng.choice(THINGS)
        low, high = HEADS_OF_A_THING
        most = high * 2 if count == 1 else high
        about = [
            _Told(
                thing=thing,
                heads=tuple(rng.sample(self.heads, rng.randint(low, most))),
                pairs=tuple(rng.sample(self.pairs, rng.choice(PAIRS_OF_A_THING))),
            )
            for thing in rng.sample(self.things, count)
        ]
        often = [field.keys[0] for told in about for field in told.fields]
        bare = rng.random() < BARE_SHARE
        fields = [
            _field(told.thing, field, bare=bare and often.count(field.keys[0]) == 1)
            for told in about
            for field in told.fields
        ]
        rng.shuffle(fields)
        return Family(
            name=about[0].thing,
            leads=tuple(lead for told in about for lead in _leads(told, rng)),
            fields=tuple(fields),
            groups=tuple(_group(told) for told in about),
            group_share=NESTED_SHARE,
        )

    def keys(self) -> Iterator[str]:
        """Every key that a schema over such a family can have, before its casing."""
        yield from self.things
        paired = (field for pair in self.pairs for field in pair.fields)
        for field in (*(head.field for head in self.heads), *paired):
            yield from field.keys
            yield from (key for part in field.parts for key in part.keys)
            yield from (key for thing in self.things for key in _full_keys(thing, field))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What a family says about one thing."""

    thing: str
    heads: tuple[Head, ...]
    pairs: tuple[Pair, ...]

    @property
    def fields(self) -> tuple[Field, ...]:
        return (*(head.field for head in self.heads), *(field for pair in self.pairs for field in pair.fields))


def _full_keys(thing: str, field: Field) -> tuple[str, ...]:
    return (*(f"{thing}_{key}" for key in field.keys), f"{field.keys[0]}_of_{thing}")


def _name(thing: str, field: Field) -> str:
    return f"{thing}__{field.name}"


def _field(thing: str, field: Field, *, bare: bool) -> Field:
    def told(wordings: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_about(thing, wording) for wording in wordings)

    return replace(
        field,
        name=_name(thing, field),
        keys=(*field.keys, *_full_keys(thing, field)) if bare else _full_keys(thing, field),
        say=told(field.say),
        yes=told(field.yes),
        no=told(field.no),
    )


def _about(thing: str, wording: str) -> str:
    return wording.replace(THING, thing.replace("_", " "))


def _group(told: _Told) -> Group:
    return Group(keys=(told.thing,), inner_keys=tuple((_name(told.thing, field), field.keys) for field in told.fields))


def _leads(told: _Told, rng: Random) -> Iterator[str]:
    """Sentences that open a text: each states one to three fields of a thing."""
    for _ in range(LEADS):
        yield _lead(told.thing, list(told.heads), rng)
    for pair in told.pairs:
        for wording in pair.say:
            yield _about(told.thing, _paired(wording, told.thing, pair))


def _paired(wording: str, thing: str, pair: Pair) -> str:
    for field in pair.fields:
        wording = wording.replace(f"{{{field.name}}}", f"{{{_name(thing, field)}}}")
    return wording


def _lead(thing: str, heads: list[Head], rng: Random) -> str:
    """One sentence that states one to three fields of a thing."""
    plain = [head for head in heads if head.field.kind in IN_A_LEAD]
    rng.shuffle(plain)
    asides = [head for head in plain if head.clauses][: rng.randint(0, 2)]
    verbs = [
        (head, wording.removeprefix(OPENING))
        for head in plain
        if head not in asides
        for wording in head.field.say
        if wording.startswith(OPENING)
    ]
    if not verbs:
        return ""
    said = [_slot(rng.choice(head.clauses), thing, head) for head in asides]
    aside = f", {' and '.join(said)}," if said else ""
    head, verb = rng.choice(verbs)
    return _about(thing, f"The {THING}{aside} {_slot(verb, thing, head)}")


def _slot(wording: str, thing: str, head: Head) -> str:
    return wording.replace("{}", f"{{{_name(thing, head.field)}}}")

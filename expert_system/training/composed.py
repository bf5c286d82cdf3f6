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
IN_A_LEAD = (Kind.TEXT, Kind.INTEGER, Kind.NUMBER, Kind.ENUM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Something that can be said about any thing."""

    field: Field
    """Its keys without the thing; its wordings with `{t}` where the thing stands."""
    clauses: tuple[str, ...]
    """What may follow the thing between commas, such as "owned by {}"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """What families are made of, and the share of examples whose family is made on the spot."""

    share: float
    things: tuple[str, ...]
    heads: tuple[Head, ...]

    def family(self, rng: Random) -> Family:
        """Make a family."""
        count = rng.choice(THINGS)
        things = rng.sample(self.things, count)
        low, high = HEADS_OF_A_THING
        most = high * 2 if count == 1 else high
        chosen = {thing: rng.sample(self.heads, rng.randint(low, most)) for thing in things}
        often = [head.field.keys[0] for heads in chosen.values() for head in heads]
        bare = rng.random() < BARE_SHARE
        fields = [
            _field(thing, head, bare=bare and often.count(head.field.keys[0]) == 1)
            for thing, heads in chosen.items()
            for head in heads
        ]
        rng.shuffle(fields)
        return Family(
            name=things[0],
            leads=tuple(_lead(thing, heads, rng) for thing, heads in chosen.items() for _ in range(LEADS)),
            fields=tuple(fields),
            groups=tuple(_group(thing, heads) for thing, heads in chosen.items()),
        )

    def keys(self) -> Iterator[str]:
        """Every key that a schema over such a family can have, before its casing."""
        yield from self.things
        for head in self.heads:
            yield from head.field.keys
            yield from (key for part in head.field.parts for key in part.keys)
            yield from (key for thing in self.things for key in _full_keys(thing, head))


def _full_keys(thing: str, head: Head) -> tuple[str, ...]:
    first = head.field.keys[0]
    return (*(f"{thing}_{key}" for key in head.field.keys), f"{first}_of_{thing}")


def _name(thing: str, head: Head) -> str:
    return f"{thing}__{head.field.name}"


def _field(thing: str, head: Head, *, bare: bool) -> Field:
    def told(wordings: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_about(thing, wording) for wording in wordings)

    field = head.field
    return replace(
        field,
        name=_name(thing, head),
        keys=(*field.keys, *_full_keys(thing, head)) if bare else _full_keys(thing, head),
        say=told(field.say),
        yes=told(field.yes),
        no=told(field.no),
    )


def _about(thing: str, wording: str) -> str:
    return wording.replace(THING, thing.replace("_", " "))


def _group(thing: str, heads: list[Head]) -> Group:
    return Group(keys=(thing,), inner_keys=tuple((_name(thing, head), head.field.keys) for head in heads))


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
    return wording.replace("{}", f"{{{_name(thing, head)}}}")

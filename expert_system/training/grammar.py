"""Expand value patterns such as "INV-{####}" or "{first} {last}" into text.

    pattern + pools + random numbers -> text

Promise: the same random state gives the same text, and a pool of twenty or more entries
is cut in two, so that held-out values were never seen in training.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

HELD_OUT_POOL = 20
"""Pools with at least this many entries keep their last quarter for the held-out splits."""
MAX_DEPTH = 8
"""Nested references before a pattern counts as endless."""

_SLOT = re.compile(r"\{([^{}]+)\}")
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """Pools of patterns that refer to each other by name.

    A slot is `{pool}`, `{pool:lower}`, `{pool:title}`, `{int:LOW-HIGH}`, `{decimal:LOW-HIGH}` (one digit after the
    point), `{money:LOW-HIGH}` (two digits after the point), or a run of `#` (a digit each) or `?` (a capital each).
    """

    pools: Mapping[str, Sequence[str]]
    held_out: bool = False
    own: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Pools of one split alone; used whole, and instead of a shared pool of the same name."""

    def pool(self, name: str) -> Sequence[str]:
        """Return the entries of a pool that this split may use.

        Raises:
            KeyError: when no pool has this name.
        """
        if name in self.own:
            return self.own[name]
        entries = self.pools[name]
        if len(entries) < HELD_OUT_POOL:
            return entries
        cut = len(entries) * 3 // 4
        return entries[cut:] if self.held_out else entries[:cut]

    def expand(self, pattern: str, rng: Random, depth: int = 0) -> str:
        """Replace every slot of a pattern.

        Raises:
            ValueError: when pools refer to each other without end.
        """
        if depth > MAX_DEPTH:
            raise ValueError(f"the pattern {pattern!r} refers to itself")
        return _SLOT.sub(lambda match: self._slot(match.group(1), rng, depth), pattern)

    def _slot(self, slot: str, rng: Random, depth: int) -> str:
        if set(slot) <= {"#", "?"}:
            return "".join(_sign(sign, first=position == 0, rng=rng) for position, sign in enumerate(slot))
        name, _, argument = slot.partition(":")
        if name in {"int", "decimal", "money"}:
            low, high = (int(bound) for bound in argument.split("-"))
            whole = rng.randint(low, high)
            return {
                "int": f"{whole}",
                "decimal": f"{whole}.{rng.randint(1, 9)}",
                "money": f"{whole}.{rng.choice((0, 5, 25, 50, 75, 90, 95, 99, rng.randint(0, 99))):02d}",
            }[name]
        text = self.expand(rng.choice(self.pool(name)), rng, depth + 1)
        return {"lower": text.lower(), "title": text.title(), "": text}[argument]


def _sign(sign: str, *, first: bool, rng: Random) -> str:
    """One digit or capital; a number never starts with zero, so that it means the same as text and as integer."""
    if sign == "?":
        return rng.choice(_LETTERS)
    return rng.choice("123456789" if first else "0123456789")

"""Which set holds which slot: a pure least-recently-used table.

    ids needed by the next step -> slots to fill

Promise: a set needed by the step is never evicted for another; a pinned set gives up its slot last (a pin of a
slot is a preference, vllm.md Decided 4), so as long as a step needs no more sets than there are slots, it runs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """Put this set into this slot, over whatever was there."""

    slot: int
    set_id: int
    evicted: int | None


class SlotTable:
    """Occupants of the slots and the order in which they were last used."""

    def __init__(self, count: int) -> None:
        """Make a table of `count` empty slots."""
        self.occupants: list[int | None] = [None] * count
        self._recent: dict[int, None] = {}
        self._pinned: set[int] = set()

    def assign(self, needed: Collection[int]) -> list[Fill]:
        """Give every needed set a slot and make them the most recently used.

        Raises:
            ValueError: more sets are needed than there are slots.
        """
        if len(needed) > len(self.occupants):
            raise ValueError(f"{len(needed)} expert sets are needed at once, but there are {len(self.occupants)} slots")
        held = {occupant for occupant in self.occupants if occupant is not None}
        fills = []
        victims = iter(self._victims(set(needed)))
        for set_id in needed:
            if set_id not in held:
                slot = next(victims)
                evicted = self.occupants[slot]
                if evicted is not None:
                    self._recent.pop(evicted, None)
                self.occupants[slot] = set_id
                fills.append(Fill(slot=slot, set_id=set_id, evicted=evicted))
            self._recent.pop(set_id, None)
            self._recent[set_id] = None
        return fills

    def _victims(self, needed: set[int]) -> Iterable[int]:
        """Slots to take, in order: empty, idle by last use, idle and pinned by last use."""
        slot_of = {occupant: slot for slot, occupant in enumerate(self.occupants) if occupant is not None}
        idle = [set_id for set_id in self._recent if set_id not in needed]
        yield from [slot for slot, occupant in enumerate(self.occupants) if occupant is None]
        yield from [slot_of[set_id] for set_id in idle if set_id not in self._pinned]
        yield from [slot_of[set_id] for set_id in idle if set_id in self._pinned]

    def free(self, set_id: int) -> int | None:
        """Empty the slot of a set and forget its pin; return the slot, or None when it held none."""
        self._pinned.discard(set_id)
        self._recent.pop(set_id, None)
        if set_id not in self.occupants:
            return None
        slot = self.occupants.index(set_id)
        self.occupants[slot] = None
        return slot

    def pin(self, set_id: int) -> None:
        """Prefer to keep this set's slot."""
        self._pinned.add(set_id)

    def unpin(self, set_id: int) -> None:
        """Take the preference away."""
        self._pinned.discard(set_id)

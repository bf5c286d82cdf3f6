"""One step's work for the adapters: which rows of the batch belong to which slot, told once a step.

    slot of each token + slots' references -> lanes (rows, members) -> every layer

Promise: rows without an adapter appear in no lane, so nothing is computed for them and nothing touches them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from expert_system.engine.plugin.mapped import MappedExpert


@dataclass(frozen=True, slots=True)
class SlotSet:
    """What a slot holds on the CPU: references to shared experts, with weights; no copies."""

    members: tuple[tuple[MappedExpert, float], ...]


@dataclass(frozen=True, slots=True)
class Lane:
    """The rows of one step that run with one set."""

    rows: torch.Tensor
    """Indices into the batch's tokens, int64."""
    held: SlotSet


@dataclass(frozen=True, slots=True)
class Lanes:
    """All adapter work of one step."""

    lanes: tuple[Lane, ...]
    packed: torch.Tensor
    """The same for the compiled kernel, int64; see `pack`."""
    gated_inputs: frozenset[int]
    """Layers whose input some expert of this step scales."""


def lanes_of(slots: Sequence[int], held: Sequence[SlotSet | None]) -> Lanes | None:
    """Group a step's tokens by slot.

    Args:
        slots: the slot of each token, -1 for none.
        held: what each slot holds.

    Returns:
        None when no token runs with experts.
    """
    rows: dict[int, list[int]] = {}
    for row, slot in enumerate(slots):
        if slot >= 0:
            rows.setdefault(slot, []).append(row)
    lanes = []
    for slot, indices in rows.items():
        expert_set = held[slot]
        if expert_set is None:
            raise RuntimeError(f"slot {slot} is named by the batch but holds no expert set")
        if expert_set.members:
            lanes.append(Lane(torch.tensor(indices, dtype=torch.int64), expert_set))
    if not lanes:
        return None
    gated = frozenset(index for lane in lanes for expert, _ in lane.held.members for index in expert.inputs)
    return Lanes(tuple(lanes), pack(lanes), gated)


def pack(lanes: Sequence[Lane]) -> torch.Tensor:
    """Write lanes as the kernel reads them.

    Layout: number of lanes; for each lane: first row, rows, first member, members; then every lane's members
    as (address of the expert's table, weight as the bits of a double); then every lane's rows. Positions are
    counted from the start of their own section.
    """
    heads: list[int] = []
    members: list[int] = []
    rows: list[int] = []
    for lane in lanes:
        indices = lane.rows.tolist()
        heads += [len(rows), len(indices), len(members) // 2, len(lane.held.members)]
        rows += indices
        for expert, weight in lane.held.members:
            members += [expert.table.data_ptr(), struct.unpack("<q", struct.pack("<d", weight))[0]]
    return torch.tensor([len(lanes), *heads, len(members) // 2, *members, *rows], dtype=torch.int64)

"""The steps that every row goes through, whoever wrote it.

    whole -> valid -> executed -> no exact duplicate -> no near duplicate -> nothing of a held-out row

Promise: one order for generating, importing and inspecting, so what was let in is not objected to later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from expert_system.training.data.checks import executed, valid, whole
from expert_system.training.data.duplicates import contaminated, exact_duplicates, near_duplicates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from expert_system.training.data.duplicates import Embed
    from expert_system.training.data.row import Row
    from expert_system.training.data.sifting import Step

Near = tuple["Embed", float] | str
"""The router's encoder and from which cosine on rows are alike; or why near duplicates are not looked for."""


def pipeline(near: Near, held_out: Sequence[Row] | str) -> dict[str, Step | str]:
    """Name the steps.

    Args:
        near: how near duplicates are found.
        held_out: rows that must not be asked; or why nothing is held against these.
    """
    embed, cosine = (None, None) if isinstance(near, str) else near
    return {
        "whole": whole,
        "schema": valid,
        "check": executed,
        "exact duplicates": exact_duplicates,
        "near duplicates": near if isinstance(near, str) else near_duplicates(*near),
        "decontamination": held_out if isinstance(held_out, str) else contaminated(held_out, embed, cosine),
    }

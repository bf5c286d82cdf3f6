"""What the sections of a recipe have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

PARTS_FOLDER = "dataset/parts"
"""Where rows lie that no program can write again, in the expert's folder."""
NEAR_DUPLICATE_COSINE = 0.85
"""Rows whose embeddings are at least this alike say the same."""


class Strict(BaseModel):
    """A frozen section that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

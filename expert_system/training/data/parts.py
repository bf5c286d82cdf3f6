"""The names of a data set's parts."""

from __future__ import annotations

TRAIN, VALIDATION, TEST = "train", "validation", "test"
PARTS = (TRAIN, VALIDATION, TEST)

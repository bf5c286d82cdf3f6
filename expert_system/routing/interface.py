"""What the router needs from its sentence encoder; the real one is `encoder.Encoder`.

text -> Reading (embedding + probabilities of each head)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

NONE = "none"
"""The label of each head for "the prompt asks for nothing of this kind"."""
NEED = "need"
"""The head that tells whether any expert is needed; its labels are "expert" and "none"."""
NEEDED = "expert"


class Reading(Protocol):
    """What the encoder makes of one text."""

    @property
    def embedding(self) -> Floats:
        """(dimension,), unit length."""

    @property
    def probabilities(self) -> Mapping[str, Mapping[str, float]]:
        """Head -> label -> probability; labels are words of manifests' capabilities, and "none"."""


class Encoder(Protocol):
    """A sentence encoder with classifier heads."""

    @property
    def version(self) -> str:
        """The name of its folder under router_models/."""

    @property
    def digest(self) -> str:
        """Lower-case hex sha256 that changes with any of its files."""

    @property
    def dimension(self) -> int:
        """Length of an embedding."""

    def read(self, text: str) -> Reading:
        """Embed and classify one text of any length."""

    def embed(self, texts: Sequence[str]) -> Floats:
        """(n, dimension), each row of unit length."""

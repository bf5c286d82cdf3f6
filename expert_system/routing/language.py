"""Which language a prompt is in, where that can be told.

    what is asked -> py3langid, restricted to LANGUAGES -> Language (code, probability)

Promise: a text too short to tell is UNKNOWN, never a guess; the same text gives the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

LANGUAGES = ("ar", "de", "en", "es", "fr", "hi", "it", "ja", "ko", "nl", "pl", "pt", "ru", "sv", "tr", "zh")
"""ISO 639-1 codes that are told apart; fewer candidates make short texts safer."""
MIN_LETTERS = 12
"""Letters below which nothing is said about the language."""
MAX_CHARS = 2_000
"""Characters that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """The most likely language and its probability among LANGUAGES."""

    code: str
    probability: float


UNKNOWN = Language(code="", probability=0.0)


def language_of(text: str) -> Language:
    """Tell the language of a text."""
    part = text[:MAX_CHARS]
    if part.isascii() and sum(map(str.isalpha, part)) < MIN_LETTERS:
        return UNKNOWN
    code, probability = _identifier().classify(part)
    return Language(code=str(code), probability=float(probability))


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(LANGUAGES))
    return identifier

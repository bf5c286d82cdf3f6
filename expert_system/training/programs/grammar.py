"""English with errors and the same English without: the program behind expert-english-basic.

    frames -> one or two correct sentences -> some errors, or none -> request -> Row with an exact answer

Promise: the answer is the sentence before any error was put in; a text that is already right stays as it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from expert_system.training.programs.grammar_frames import Piece, Words
from expert_system.training.programs.sources import open_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from random import Random

    from expert_system.training.data.row import Row
    from expert_system.training.dataset_recipe import ProgramRecipe
    from expert_system.training.programs.sources import Source

TWO_SENTENCES_SHARE = 0.3
ERRORS = (0, 1, 2, 3)
ERROR_WEIGHTS = (20, 40, 28, 12)
"""Out of a hundred texts, how many have 0, 1, 2 or 3 errors; 20 are right already."""
SURFACE = ("spelling", "capital", "punctuation")
SURFACE_SHARE = 0.3
"""Share of errors that are in letters and marks rather than in words."""
MIN_MISSPELT = 5
"""Letters of the shortest word that is misspelt."""

_LONG_WORD = re.compile(rf"\b[a-z]{{{MIN_MISSPELT},}}\b")
_CAPITAL = re.compile(r"\b[A-Z]")
_WORD = re.compile(r"[a-z]+")


class Grammar:
    """Writes texts with and without errors."""

    def generate(self, section: ProgramRecipe, folder: Path, part: str) -> Iterator[Row]:
        """Write without end; what repeats is for the caller to leave out."""
        source = open_source(section, folder, part)
        words = Words(source.data, source.grammar, source.rng)
        vocabulary = frozenset(_WORD.findall(str(source.data)))
        while True:
            row = _row(source, words, vocabulary)
            if row is not None:
                yield row


def _row(source: Source, words: Words, vocabulary: frozenset[str]) -> Row | None:
    """One text, or None when its errors cancelled each other out."""
    rng = source.rng
    sentences = 2 if rng.random() < TWO_SENTENCES_SHARE else 1
    drawn = [words.sentence() for _ in range(sentences)]
    pieces = [piece for sentence in drawn for piece in (*sentence, Piece(right=" "))]
    wanted = rng.choices(ERRORS, weights=ERROR_WEIGHTS)[0]
    text, kinds = _spoilt(pieces, wanted, vocabulary, rng)
    answer = _joined([piece.right for piece in pieces])
    if (text == answer) is (wanted > 0):
        return None
    return source.row(
        {"text": text},
        answer,
        template=f"{source.part} {sentences} sentences, {wanted} errors",
        tags=(f"errors:{len(kinds)}", *(f"error:{kind}" for kind in sorted(set(kinds)))),
        check={"kind": "exact"},
    )


def _spoilt(
    pieces: Sequence[Piece], wanted: int, vocabulary: frozenset[str], rng: Random
) -> tuple[str, tuple[str, ...]]:
    """The text with errors, and their kinds; each of the surface's kinds occurs once at most."""
    surface = rng.sample(SURFACE, sum(rng.random() < SURFACE_SHARE for _ in range(wanted)))
    sites = [at for at, piece in enumerate(pieces) if piece.wrong]
    chosen = {at: rng.choice(pieces[at].wrong) for at in rng.sample(sites, min(len(sites), wanted - len(surface)))}
    text = _joined([chosen[at].text if at in chosen else piece.right for at, piece in enumerate(pieces)])
    kinds = [form.kind for form in chosen.values()]
    for kind in surface:
        spoilt = _surface(text, kind, vocabulary, rng)
        if spoilt != text:
            kinds.append(kind)
        text = spoilt
    return text, tuple(kinds)


def _surface(text: str, kind: str, vocabulary: frozenset[str], rng: Random) -> str:
    """Misspell one word, write one capital small, or leave out the last mark."""
    if kind == "punctuation":
        return text[:-1]
    found = list((_LONG_WORD if kind == "spelling" else _CAPITAL).finditer(text))
    if not found:
        return text
    place = rng.choice(found)
    word = place[0].lower() if kind == "capital" else misspelt(place[0], vocabulary, rng)
    return text[: place.start()] + word + text[place.end() :]


def misspelt(word: str, vocabulary: frozenset[str], rng: Random) -> str:
    """Swap, drop or double a letter inside a word; what is a word itself is left alone."""
    at = rng.randint(1, len(word) - 3)
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    dropped = word[:at] + word[at + 1 :]
    doubled = word[:at] + word[at] + word[at:]
    new = rng.choice((swapped, dropped, doubled))
    return word if new in vocabulary else new


def _joined(texts: Sequence[str]) -> str:
    """Put pieces together; where one is empty, one space is left."""
    return re.sub(r" +(?=[ .?!,])", "", "".join(texts)).strip()

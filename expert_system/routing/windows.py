"""A bounded excerpt of a prompt: where the wish stands, whatever the length of the text around it.

    text -> sentences and lines -> first, last and the most asking ones, in their order -> excerpt
    token ids -> head and tail -> at most `limit` ids

Promise: pure, linear in the text, and a prompt that is short enough is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

WHOLE_CHARS = 280
"""A text up to this length, about 64 tokens, is read whole."""
MAX_CHARS = 24_576
"""Characters that are looked at; of a longer text the beginning and the end."""
MAX_SEGMENTS = 800
SEGMENT_CHARS = 140
"""Characters of one sentence that are kept."""
END_CHARS = 50
"""Of them from the end of a longer one."""
ASKING_SEGMENTS = 2
"""Sentences kept besides the first and the last, those that ask most."""

_ENDS = re.compile(r"(?<=[.!?])\s+|\n+")
"""Where one sentence or line ends and the next begins."""
_MASKED = re.compile(r"…[\s…]*")
"""What was masked is worth one token, however long it was."""
_WORDS = re.compile(r"[^\W\d_]+")
_FILLERS = frozenset(
    _WORDS.findall(
        "please kindly hi hello hey ok so now then and can could would will you i we need want to me let "
        "por favor bitte pode puedes peux kannst could"
    )
)
_ASKING = frozenset(
    _WORDS.findall(
        "add analyse answer arrange assign build calculate categorise categorize change check choose classify compare compute "
        "convert correct count create decide delete describe design determine display document draft draw edit encode explain "
        "export extract fill find fix format generate get give group help identify insert join label list make map mark match "
        "move name order organise output parse pick plan print produce proofread prove provide put query rank read recommend "
        "remove repair replace reply report return rewrite say select show solve sort structure suggest sum summarise summarize "
        "tag tell transform translate turn update use write what which who whom whose when where why how is are does do did has "
        "json sql cypher regex "
        "extraia converta transforme escreva mostre liste traduza qual quais quem como quantos "
        "extrae convierte escribe muestra cuál quién cómo cuántos "
        "extrais convertis écris montre liste quel quelle qui comment combien "
        "extrahiere wandle schreibe zeige liste welche wer wie was"
    )
)


def excerpt(text: str) -> str:
    """The part of a text that is read: all of a short one, of a longer one its first, last and asking sentences."""
    text = _MASKED.sub("… ", text).strip()
    if len(text) <= WHOLE_CHARS:
        return text
    if len(text) > MAX_CHARS:
        text = f"{text[: MAX_CHARS // 2]}\n{text[-MAX_CHARS // 2 :]}"
    segments = [found for part in _ENDS.split(text) if (found := part.strip())]
    if len(segments) > MAX_SEGMENTS:
        segments = segments[: MAX_SEGMENTS // 2] + segments[-MAX_SEGMENTS // 2 :]
    if not segments:
        return text[:WHOLE_CHARS]
    last = len(segments) - 1
    ranked = sorted(range(1, last), key=lambda place: (-asking(segments[place]), place))
    middle = [place for place in ranked[:ASKING_SEGMENTS] if asking(segments[place])]
    kept = sorted({0, *middle, last})
    return " ".join(shortened(segments[place]) for place in kept)


def shortened(segment: str) -> str:
    """A sentence within its bound: of a longer one the beginning and the end."""
    if len(segment) <= SEGMENT_CHARS:
        return segment
    return f"{segment[: SEGMENT_CHARS - END_CHARS]} {segment[1 - END_CHARS :]}"


def asking(segment: str) -> int:
    """How much a sentence looks like a wish: 0 not at all, 2 a question or an order, 3 both."""
    words = (word.lower() for word in _WORDS.findall(segment[:SEGMENT_CHARS]))
    first = next((word for word in words if word not in _FILLERS), "")
    order = first in _ASKING
    question = "?" in segment
    return 3 if order and question else 2 * (order or question)


def within(ids: Sequence[int], limit: int) -> list[int]:
    """At most `limit` of the ids: all, or as many from the beginning as from the end."""
    if len(ids) <= limit:
        return list(ids)
    tail = limit // 2
    return [*ids[: limit - tail], *ids[len(ids) - tail :]]

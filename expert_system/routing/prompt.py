"""A prompt as the router reads it: bounded, normalised, and parted into what is asked and what is shown.

    text of any size -> head and tail -> NFKC, no control characters -> Prompt(asked, tokens, language, carried)

Promise: no text of any content or size raises, and two prompts with the same `text` are the same to the router.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from expert_system.routing.language import Language, language_of
from expert_system.routing.masking import MASK, asked_of
from expert_system.routing.payload import carried
from expert_system.routing.words import tokens_of

MAX_HEAD_CHARS = 16_384
MAX_TAIL_CHARS = 8_192
"""Of a longer prompt only the beginning and the end are read, where questions stand; the middle is payload."""
MAX_LINE_CHARS = 1_024
"""How far a cut may move to the end of a line; half a line of a log would look like a question."""
MAX_HEAD_TOKENS = 768
MAX_TAIL_TOKENS = 256
"""Words of what is asked that are looked up, likewise."""

_BLANKS = re.compile(r"[^\S\n]+")
_LINES = re.compile(r"\n{3,}")
_LETTERS = re.compile(r"[^\W\d_]{2,}")
_BETWEEN_WORDS = re.compile(r"[\s\-_'\u2019/.,:;!?()\"]+")
MIN_WORDS_SHARE = 0.5
"""Of the pieces between blanks and punctuation; random bytes have fewer that could be words."""
MAX_PIECES = 128
"""Pieces that are looked at for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt, read."""

    text: str
    """Normalised and bounded."""
    asked: str
    """What is asked, quotes, code, logs and orders to the router masked: the text for the encoder."""
    tokens: tuple[str, ...]
    """Words of `asked`, in lower case."""
    language: Language
    carried: frozenset[str]
    """Capabilities whose kind of data the prompt holds, such as "format:json"."""
    masked_share: float
    """Part of `text` that is not in `asked`, 0 to 1."""

    @property
    def asks(self) -> bool:
        """Whether words are left outside of quotes, code, logs and orders, and not noise with a few among it."""
        return bool(_LETTERS.search(self.asked)) and _mostly_words(self.asked.replace(MASK, " "))


def read_prompt(text: str) -> Prompt:
    """Read a prompt; never raises, whatever the text."""
    bounded = normalised(text)
    asked = asked_of(bounded)
    kept = len(asked) - asked.count(MASK)
    return Prompt(
        text=bounded,
        asked=asked,
        tokens=_bounded(tokens_of(asked)),
        language=language_of(asked.replace(MASK, " ")),
        carried=carried(bounded),
        masked_share=min(1.0, max(0.0, 1.0 - kept / max(1, len(bounded)))),
    )


def normalised(text: str) -> str:
    """Bound and normalise: NFKC, no control or invisible characters, single blanks, at most one empty line.

    What is normalised stays as it is.
    """
    text = _cut(text).encode("utf-8", "ignore").decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    if not text.isascii() or not text.isprintable():
        text = "".join(
            character if character == "\n" or unicodedata.category(character)[0] != "C" else _visible(character)
            for character in text
        )
        text = _cut(unicodedata.normalize("NFKC", text))  # one character may become eighteen
    text = _BLANKS.sub(" ", text)
    return _LINES.sub("\n\n", text).strip()


def _cut(text: str) -> str:
    """The beginning and the end of a long text, at the ends of lines where there are any near."""
    if len(text) <= MAX_HEAD_CHARS + MAX_TAIL_CHARS:
        return text
    head, tail = text[:MAX_HEAD_CHARS], text[1 - MAX_TAIL_CHARS :]
    end, start = head.rfind("\n", -MAX_LINE_CHARS), tail.find("\n", 0, MAX_LINE_CHARS)
    return f"{head if end < 0 else head[:end]}\n{tail[start + 1 :]}"


def _bounded(tokens: tuple[str, ...]) -> tuple[str, ...]:
    if len(tokens) <= MAX_HEAD_TOKENS + MAX_TAIL_TOKENS:
        return tokens
    return tokens[:MAX_HEAD_TOKENS] + tokens[-MAX_TAIL_TOKENS:]


def _mostly_words(text: str) -> bool:
    pieces = [piece for piece in _BETWEEN_WORDS.split(text, MAX_PIECES)[:MAX_PIECES] if piece]
    return sum(map(_could_be_a_word, pieces)) >= MIN_WORDS_SHARE * len(pieces)


def _could_be_a_word(piece: str) -> bool:
    """Letters of one case, with a capital first or not, or a number; scripts without case have words too."""
    if piece.isdigit():
        return True
    return piece.isalpha() and (piece[1:].lower() == piece[1:] or piece.upper() == piece)


def _visible(character: str) -> str:
    """Formatting characters vanish, so that they part no word; control characters become blanks."""
    return "" if unicodedata.category(character) == "Cf" else " "

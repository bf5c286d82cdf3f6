r"""What of a prompt is asked, and what is only shown: quotes, code, logs and orders to the router are masked.

    prompt -> code fences, quotes, log lines, "choose expert-x" -> … -> asked

Promise: what stands in quotes or code, or only names an expert, is never read as a wish; every pattern runs in time
linear in the text, whatever the text is.
"""

from __future__ import annotations

import re

MASK = "…"
"""Stands for each masked piece."""
MAX_QUOTE_CHARS = 2_000
"""A quotation mark without its partner within so many characters quotes nothing."""

_FENCE = re.compile(r"^(```|~~~)[^\n]*\n.*?(?:^\1[^\n]*$|\Z)", re.MULTILINE | re.DOTALL)
_INLINE_CODE = re.compile(rf"`[^`\n]{{1,{MAX_QUOTE_CHARS}}}`")
_PAIRS = (("“", "”"), ("„", "“"), ("„", "”"), ("«", "»"), ("「", "」"), ("『", "』"), ('"', '"'))
_QUOTES = tuple(
    re.compile(rf"{opening}[^{opening}{closing}]{{1,{MAX_QUOTE_CHARS}}}{closing}") for opening, closing in _PAIRS
)
_CURLY = re.compile(rf"\u2018[^\u2018\u2019\n]{{1,{MAX_QUOTE_CHARS}}}\u2019")
_SINGLE = re.compile(rf"(?<![\w'])'(?=\S)[^'\n]{{1,{MAX_QUOTE_CHARS}}}(?<=\S)'(?![\w'])")
_BLOCK_QUOTE = re.compile(r"^[ \t]{0,3}>[^\n]*$", re.MULTILINE)
_LOG_LINE = re.compile(
    r"""^[ \t]{0,8}[\[(<]?(?:
        \d{4}[-/]\d\d[-/]\d\d[T ,]{1,2}\d\d:\d\d          # 2026-03-14 09:12, 2026-03-14T09:12
      | \d{1,2}/[A-Z][a-z]{2}/\d{4}:\d\d                  # 14/Mar/2026:09
      | [A-Z][a-z]{2}[ ]{1,2}\d{1,2}[ ]\d\d:\d\d:\d\d     # Mar 14 09:12:44
      | \d\d:\d\d:\d\d[.,:\s]                             # 09:12:44,120
      | \d{1,3}(?:\.\d{1,3}){3}[ ]\S+[ ]\S+[ ]\[          # 10.0.0.1 - - [
      | \d{10}(?:\.\d{1,9})?[ \]]                         # 1773479564.120
      | (?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|FATAL|CRITICAL|SEVERE)\b[\]: ]
      | at[ ][\w.$<>]{3,200}\(                            # a frame of a stack trace
      | File[ ]"[^"\n]{1,300}",[ ]line[ ]\d
      | Traceback[ ]\(most[ ]recent
      | level=\w | time=["\d] | ts=["\d]
    )[^\n]*$""",
    re.MULTILINE | re.VERBOSE,
)
_EXPERT_NAME = re.compile(r"\bexpert-[a-z0-9]+(?:-[a-z0-9]+)*(?:@[0-9.]{1,20})?(?:=[0-9.]{1,8})?", re.IGNORECASE)
_ORDER = re.compile(
    r"""\b(?:choose|select|pick|use|activate|load|force|enable|attach|call|invoke|switch\s+to
          |(?:route|send|hand)\s(?:\w+\s){0,4}to)\b
        [^.!?;:\n…]{0,60}?\b(?:experts?|adapters?|loras?)\b
        (?!\s+(?:advice|opinion|knowledge|tone|level|mode|style|review))
        (?:\s+(?:named|called)\s+[\w-]{1,64})?""",
    re.IGNORECASE | re.VERBOSE,
)
_NAMED_ORDER = re.compile(
    r"\b(?:choose|select|pick|use|activate|load|force|enable|attach|call|invoke|switch\s+to|route\s+to)\s+(?:the\s+)?§",
    re.IGNORECASE,
)
_MASKS = re.compile(rf"{MASK}(?:[^\w\n{MASK}]{{0,200}}{MASK})+")


def asked_of(text: str) -> str:
    """What the text asks, with what it only shows replaced by the mask.

    Args:
        text: a normalised prompt of bounded length.

    Returns:
        Text with words outside of quotes, code, logs and orders to the router; without any it asks nothing.
    """
    for pattern in (_FENCE, _INLINE_CODE, _BLOCK_QUOTE, _LOG_LINE, *_QUOTES, _CURLY, _SINGLE):
        text = pattern.sub(MASK, text)
    text = _EXPERT_NAME.sub("§", text.replace("§", " "))
    text = _ORDER.sub(MASK, _NAMED_ORDER.sub(MASK, text)).replace("§", MASK)
    return _MASKS.sub(MASK, text).strip()

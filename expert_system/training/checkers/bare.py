r"""Find an answer that stands among other words, as a base writes it that was never taught to answer barely.

    "Sure! ```sql\nSELECT 1;\n```" -> "SELECT 1;"

Promise: used for a measure of its own, beside the strict one, so that nobody gains by it unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_FENCED = re.compile(r"```[A-Za-z]*[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)


def first_statement(answer: str, starts: Sequence[str]) -> str | None:
    """The first fenced block, else the text from the first of these words up to a semicolon or an empty line.

    Args:
        answer: what was said.
        starts: words that a statement can begin with.
    """
    fenced = _FENCED.search(answer)
    if fenced is not None:
        return fenced[1].strip()
    found = re.search(rf"\b(?:{'|'.join(starts)})\b", answer, re.IGNORECASE)
    if found is None:
        return None
    return re.split(r";|\n\s*\n", answer[found.start() :], maxsplit=1)[0].strip()

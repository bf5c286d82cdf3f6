"""What kind of data a prompt carries, told by real parsers and by patterns that nothing else fits.

    prompt -> JSON, XML, CSV, TOML, tables, graph patterns -> capabilities such as "format:json", "tech:sql"

Promise: work is bounded whatever the text is, and no parser resolves what lies outside of it.
"""

from __future__ import annotations

import json
import re
from xml.parsers import expat

MAX_TRIES = 4
"""Places at which a JSON value is looked for."""
MAX_LINES = 200
"""Lines that are looked at for a table."""
MIN_ROWS = 3

_JSON_START = re.compile(r'[\[{]\s*["\d{\[\]}tfn-]')
_XML_START = re.compile(r"<(?:\?xml\b|[A-Za-z][\w.-]{0,60}[\s>])")
_SQL = re.compile(
    r"\bcreate\s+table\s+\S{1,80}\s*\(|\binsert\s+into\s+\S{1,80}\s*[(\sv]|\bselect\b[^;\n]{1,300}\bfrom\s+[\w\"`.]+",
    re.IGNORECASE,
)
_TABLES = re.compile(
    r"\b[a-z_]{2,40}\([a-z_]{1,40}(?:\s[a-z]{1,20})?(?:,\s?[a-z_]{1,40}(?:\s[a-z]{1,20})?){1,40}\)", re.IGNORECASE
)
_GRAPH = re.compile(r"\(\w{0,40}:?\w{0,40}[^()\n]{0,80}\)\s?<?-\[[^\]\n]{0,80}\]->?\s?\(")


def carried(text: str) -> frozenset[str]:
    """The capabilities whose kind of data the text holds; the text is bounded by the caller."""
    found = set()
    if _holds_json(text):
        found.add("format:json")
    if _holds_xml(text):
        found.add("format:xml")
    if _holds_rows(text, ","):
        found.add("format:csv")
    if _GRAPH.search(text):
        found.add("tech:cypher")
    elif _SQL.search(text) or _TABLES.search(text):
        found.add("tech:sql")
    return frozenset(found)


def _holds_json(text: str) -> bool:
    """An object or array with something in it, from one of the first places where one could begin."""
    decoder = json.JSONDecoder()
    for tried, match in enumerate(_JSON_START.finditer(text)):
        if tried == MAX_TRIES:
            break
        try:
            value, _ = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value)):
            return bool(value)
    return False


def _holds_xml(text: str) -> bool:
    """A whole element from the first place where one begins; entities are never expanded."""
    start = _XML_START.search(text)
    if start is None:
        return False
    closed = False
    depth = 0

    def opened(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1

    def ended(name: str) -> None:
        nonlocal depth, closed
        depth -= 1
        closed = closed or depth == 0

    def refuse(*_: object) -> None:
        raise ValueError

    parser = expat.ParserCreate()
    parser.StartElementHandler = opened
    parser.EndElementHandler = ended
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(text[start.start() :].encode("utf-8", "ignore"), True)
    except (expat.ExpatError, ValueError):
        return closed  # whatever follows a whole element is prose
    return closed


def _holds_rows(text: str, separator: str) -> bool:
    """Three lines in a row with the same number of separators, two at least, and no sentence among the cells."""
    run, before = 0, 0
    for line in text.splitlines()[:MAX_LINES]:
        count = line.count(separator)
        prose = f"{separator} " in line or line.rstrip().endswith((".", ":", "{", "}"))
        run = run + 1 if count >= 2 and count == before and not prose else 1
        before = 0 if prose else count
        if run >= MIN_ROWS and count >= 2:
            return True
    return False

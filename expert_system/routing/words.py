"""The words by which formats, technologies and languages are named, as capabilities of manifests write them.

    tokens of what is asked -> phrases of one to three tokens -> (kind, value), such as ("tech", "sql")

Promise: words are matched whole, never inside another word; a word that is also a common English one counts only in a
phrase that leaves no doubt.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

TOKEN = re.compile(r"[^\W_]+[+#]*")
MAX_PHRASE = 3
"""Tokens in the longest phrase that is looked up."""

ALSO: Mapping[str, tuple[str, ...]] = {
    "format:json": ("json", "jsonl", "ndjson"),
    "format:yaml": ("yaml", "yml"),
    "format:csv": ("csv", "comma separated", "comma separated values"),
    "format:tsv": ("tsv", "tab separated"),
    "format:markdown": ("markdown", "md table"),
    "format:html": ("html", "html5"),
    "format:latex": ("latex", "tex document"),
    "tech:sql": ("sql", "sqlite", "mysql", "postgres", "postgresql", "mariadb", "plsql", "sql query"),
    "tech:cypher": ("cypher", "neo4j", "opencypher"),
    "tech:go": ("golang", "go code", "go function", "go program", "in go"),
    "tech:rust": ("rust code", "rust function", "rust program", "in rust", "cargo"),
    "tech:java": ("java",),
    "tech:r": ("r script", "in r", "ggplot2", "dplyr"),
    "tech:c": ("c code", "c program", "in c"),
    "tech:cpp": ("c++", "cpp"),
    "tech:csharp": ("c#", "csharp", "dotnet"),
    "tech:javascript": ("javascript", "js", "nodejs", "node js", "ecmascript"),
    "tech:typescript": ("typescript", "ts code"),
    "tech:bash": ("bash", "shell script", "shell command", "zsh"),
    "tech:regex": ("regex", "regexp", "regular expression", "regular expressions"),
    "tech:kubernetes": ("kubernetes", "k8s", "kubectl", "helm chart"),
    "tech:docker": ("docker", "dockerfile", "docker compose"),
    "tech:git": ("git", "git command", "git commit", "git rebase"),
    "tech:excel": ("excel formula", "excel", "spreadsheet formula"),
    "tech:spark": ("apache spark", "pyspark", "spark sql"),
    "language:en": ("english",),
    "language:pt": ("portuguese", "português", "portugués"),
    "language:es": ("spanish", "español", "espanhol"),
    "language:fr": ("french", "français", "francês"),
    "language:de": ("german", "deutsch", "alemão"),
    "language:it": ("italian", "italiano"),
    "language:nl": ("dutch", "nederlands"),
    "language:pl": ("polish language", "into polish", "to polish", "in polish"),
    "language:ru": ("russian",),
    "language:zh": ("chinese", "mandarin"),
    "language:ja": ("japanese",),
    "language:ko": ("korean",),
    "language:ar": ("arabic",),
    "language:tr": ("turkish",),
    "language:sv": ("swedish",),
    "language:hi": ("hindi",),
}
"""Phrases for a capability, in lower case, as tokens with single spaces; what is not listed is found by its value."""

LEADING = frozenset(
    {
        "as",
        "in",
        "into",
        "to",
        "using",
        "with",
        "via",
        "write",
        "create",
        "generate",
        "build",
        "produce",
        "output",
        "return",
        "returns",
        "give",
        "make",
        "emit",
        "need",
        "want",
        "convert",
        "turn",
        "format",
        "formatted",
        "em",
        "como",
        "para",
        "en",
        "au",
        "als",
        "im",
        "ins",
        "nel",
    }
)
"""A name after one of these is asked for and not merely spoken of: "as JSON", "em JSON"."""
FILLING = frozenset(
    {
        "me",
        "us",
        "back",
        "it",
        "this",
        "of",
        "valid",
        "a",
        "an",
        "the",
        "some",
        "single",
        "only",
        "strict",
        "um",
        "uma",
        "un",
        "una",
        "le",
        "la",
        "ein",
        "eine",
        "einen",
    }
)
"""What may stand between the two: "as a valid JSON"."""


STEM = 5
"""Letters of a word that count when topics are compared: "weld", "welds" and "welding" are nearly one."""
_SMALL = (
    "about after all and any are back before between can could did does each explain find for from get give had has have "
    "her his how into its just make many more most much need not now one only our out over please shall should show some "
    "take tell than thank thanks that the their them then there they this two use want was were what when where which "
    "who why will with without work works would write you your"
)
SMALL_WORDS = frozenset(_SMALL.split())
"""Words in requests of every kind; they tell nothing about a topic, however few experts' descriptions have them."""


def stems_of(tokens: Iterable[str]) -> frozenset[str]:
    """The beginnings of the words that may tell a topic: three letters or more, no small words."""
    return frozenset(token[:STEM] for token in tokens if len(token) > 2 and token not in SMALL_WORDS)


def tokens_of(text: str) -> tuple[str, ...]:
    """The words of a text, in lower case; hyphens and points part words."""
    return tuple(TOKEN.findall(text.lower()))


def phrases_of(tokens: Sequence[str], first_words: Container[str]) -> Iterator[tuple[int, str]]:
    """Each run of one to three tokens that begins with one of these words, with the place of its first."""
    for start in range(len(tokens)):
        if tokens[start] not in first_words:
            continue
        for length in range(1, min(MAX_PHRASE, len(tokens) - start) + 1):
            yield start, " ".join(tokens[start : start + length])


def phrases_for(capability: str) -> tuple[str, ...]:
    """The phrases by which a capability such as "tech:sql" is named."""
    listed = ALSO.get(capability)
    return listed if listed is not None else (" ".join(tokens_of(capability.partition(":")[2])),)


def is_asked(tokens: Sequence[str], start: int) -> bool:
    """Tell whether the word at `start` is asked for: "as a valid JSON" is, "what is JSON" is not."""
    for place in range(start - 1, max(-1, start - 5), -1):
        if tokens[place] in LEADING:
            return True
        if tokens[place] not in FILLING:
            return False
    return False


def index_phrases(capabilities: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Phrase -> the capabilities it names."""
    found: dict[str, tuple[str, ...]] = {}
    for capability in sorted(set(capabilities)):
        for phrase in phrases_for(capability):
            found[phrase] = (*found.get(phrase, ()), capability)
    return found

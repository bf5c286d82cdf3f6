"""Answers on disk as they come, so that an evaluation that was cut off goes on where it stopped.

    Question -> key -> answers.jsonl (appended) -> Reply

Promise: a question with the same messages, weights, base, number format and sampling is asked once; a line is whole or it is not there.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import rfc8785
from filelock import FileLock, Timeout

from expert_system.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

    from expert_system.domain import Grammar
    from expert_system.package.manifest import Manifest
    from expert_system.training.data.row import Messages

ANSWERS_FILE = "answers.jsonl"
TEMPERATURE = 0.0
"""Greedy, so that the same question gets the same answer."""
MAX_ANSWER_TOKENS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One expert that a question is put to."""

    reference: str
    """As a request names it: NAME@VERSION, or NAME@VERSION=WEIGHT."""
    digest: str
    """The package that has to answer."""
    identity: str
    """What of the package decides an answer: see `identity`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request of an evaluation."""

    messages: Messages
    base_digest: str
    dtype: str
    """Number format that the server computes in; it can decide a close token."""
    experts: tuple[Asked, ...] = ()
    """None of them asks the base alone."""
    grammar: Grammar | None = None
    max_tokens: int = MAX_ANSWER_TOKENS

    @property
    def sampling(self) -> dict[str, Any]:
        """The sampling parameters that are set, as they are sent."""
        held = {} if self.grammar is None else {"grammar": self.grammar}
        return {"temperature": TEMPERATURE, "max_tokens": self.max_tokens, **held}

    @property
    def key(self) -> str:
        """Sha256 over everything that decides the answer."""
        grammar = None if self.grammar is None else [self.grammar.type.value, self.grammar.source]
        what: dict[str, Any] = {
            "messages": list(self.messages),
            "base": self.base_digest,
            "dtype": self.dtype,
            "experts": [[asked.reference.partition("=")[2], asked.identity] for asked in self.experts],
            "temperature": TEMPERATURE,
            "max_tokens": self.max_tokens,
            "grammar": grammar,
        }
        return hashlib.sha256(rfc8785.dumps(what)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back."""

    text: str
    finish_reason: str
    completion_tokens: int
    refused: str = ""
    """Why the server refuses this very request, such as a prompt that is too long; then the text is empty."""


def identity(manifest: Manifest, base_digest: str, adapters: dict[str, str]) -> str:
    """What of a package decides its answers on one base; a new text in its model card changes nothing.

    Args:
        manifest: of the expert.
        base_digest: the base that is served.
        adapters: each file of its adapters for that base, and its sha256.
    """
    binding = manifest.binding_for(base_digest)
    what: dict[str, Any] = {
        "adapters": adapters,
        "prompt_template": binding.prompt_template if binding else None,
        "decoding": manifest.decoding.model_dump(mode="json"),
        "weight": manifest.composition.weight,
    }
    return hashlib.sha256(rfc8785.dumps(what)).hexdigest()


class AnswerBook:
    """The answers of one run folder; one process at a time."""

    def __init__(self, folder: Path, *, also: Iterable[Path] = ()) -> None:
        """Open the folder's answers, or start them.

        Args:
            folder: made when missing.
            also: answers of other runs, which are known and not written again.

        Raises:
            ConfigError: another process writes them, or a line is damaged.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / ANSWERS_FILE
        self._lock = FileLock(folder / f"{ANSWERS_FILE}.lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise ConfigError(f"another evaluation writes {self.path}; wait for it, or choose another --out") from None
        try:
            self._known: dict[str, Reply] = {}
            for other in also:
                self._known |= _read(other)
            _cut(self.path)
            self._known |= _read(self.path)
        except BaseException:
            self._lock.release()
            raise
        self._file = self.path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._known)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
        self._lock.release()

    def get(self, question: Question) -> Reply | None:
        """The answer to a question, if it was ever given."""
        return self._known.get(question.key)

    def add(self, question: Question, reply: Reply) -> None:
        """Keep an answer; it is on disk when this returns. A refusal is kept for this run only and asked again."""
        self._known[question.key] = reply
        if reply.refused:
            return
        line = {
            "key": question.key,
            "experts": [asked.reference for asked in question.experts],
            "digests": [asked.digest for asked in question.experts],
            "messages": list(question.messages),
            "grammar": question.grammar is not None,
            "reply": asdict(reply),
        }
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()


def _cut(path: Path) -> None:
    """Take half a line off the end, which a kill left while it was written."""
    data = path.read_bytes() if path.exists() else b""
    whole = data.rfind(b"\n") + 1
    if whole != len(data):
        with path.open("r+b") as stream:
            stream.truncate(whole)


def _read(path: Path) -> dict[str, Reply]:
    """Read every whole line.

    Raises:
        ConfigError: a line is damaged.
    """
    found: dict[str, Reply] = {}
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            found[row["key"]] = Reply(**row["reply"])
        except (ValueError, KeyError, TypeError):
            raise ConfigError(f"{path}, line {number} is damaged; delete that line and run again") from None
    return found

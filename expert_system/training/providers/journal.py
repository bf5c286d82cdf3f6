"""Every answer that was paid for, on disk before anything is made of it.

    Ask.key -> one JSON line, appended and synced -> read again after a kill

Promise: a request whose answer is here is never sent again. A line that a kill cut off is dropped, as its request
never counted as answered; anything else that is not a line of ours is an error, because dropping it would cost money.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, BinaryIO, Self

from expert_system.errors import ConfigError
from expert_system.training.providers.interface import Reply

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

MAX_JOURNAL_BYTES = 2 * 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    """One answer, and what it took."""

    key: str
    """Of the request (`Ask.key`)."""
    reply: Reply
    cost: float
    answered_at: str
    """ISO 8601, UTC."""
    tries: int
    """Requests sent until this answer came."""


class Journal:
    """Paid answers of one data set; a context manager, held by one process at a time."""

    def __init__(self, path: Path) -> None:
        """Name the file; nothing is opened yet."""
        self._path = path
        self._file: BinaryIO | None = None
        self.paid: dict[str, Paid] = {}
        """By the request's key, in the order in which they were answered."""

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._opened()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        self._file.close()

    def append(self, paid: Paid) -> None:
        """Keep one answer; on return it is on the disk."""
        assert self._file is not None, "the journal is open"
        self._file.write(json.dumps(asdict(paid), ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.paid[paid.key] = paid

    @property
    def spent(self) -> float:
        """What all answers cost together."""
        return sum(paid.cost for paid in self.paid.values())

    def _opened(self) -> BinaryIO:
        """Read what is there, cut off a torn last line, and stand at the end."""
        file = self._path.open("a+b")
        try:
            self._hold(file)
            if os.fstat(file.fileno()).st_size > MAX_JOURNAL_BYTES:
                raise ConfigError(f"{self._path} is larger than {MAX_JOURNAL_BYTES} bytes; choose another --out")
            file.seek(0)
            data = file.read()
            whole = data.rfind(b"\n") + 1
            for number, line in enumerate(data[:whole].split(b"\n")[:-1], start=1):
                paid = self._read(line, number)
                self.paid[paid.key] = paid
            if whole < len(data):
                file.truncate(whole)
                os.fsync(file.fileno())
        except BaseException:
            file.close()
            raise
        return file

    def _hold(self, file: BinaryIO) -> None:
        """Two runs at once would pay twice; the lock ends with the process, however that ends."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{self._path} is in use by another run; wait for it or choose another --out") from None

    def _read(self, line: bytes, number: int) -> Paid:
        try:
            entry = json.loads(line)
            return Paid(**{**entry, "reply": Reply(**entry["reply"])})
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigError(
                f"{self._path}, line {number}: not a paid answer ({type(error).__name__}); "
                f"restore the file, or move it away to pay for everything again"
            ) from None

"""Measures a git pack before anything of it is kept (formats.md 5.3).

    pack file -> each object's declared and real size -> within the limits, or refused

Promise: no object is held in memory, and an object that inflates to more than it declares stops the scan.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from expert_system.errors import SourceUnavailable

MAX_OBJECTS = 20_000
PIECE_BYTES = 64 * 1024
_OFS_DELTA, _REF_DELTA = 6, 7
_TYPES = {1, 2, 3, 4, _OFS_DELTA, _REF_DELTA}
_HASH_BYTES = 20
_MAX_SIZE_BYTES = 9
"""Of one variable-length number in a header."""
_DELTA_HEAD_BYTES = 2 * _MAX_SIZE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class PackLimits:
    """What one fetch may bring; all in bytes but the count."""

    pack: int
    """As it travels."""
    object: int
    """One object, inflated and with its deltas applied."""
    total: int
    """All objects, inflated and with their deltas applied."""
    count: int = MAX_OBJECTS


def scan_pack(file: BinaryIO, limits: PackLimits) -> int:
    """Walk a pack from its start; returns the number of objects.

    Raises:
        SourceUnavailable: it breaks a limit, or is not a pack.
    """
    reader = _Reader(file)
    head = reader.take(12)
    count = int.from_bytes(head[8:12], "big")
    if head[:4] != b"PACK" or int.from_bytes(head[4:8], "big") not in {2, 3}:
        raise SourceUnavailable("the source sent something that is not a git pack")
    if count > limits.count:
        raise SourceUnavailable(f"the source sent {count} objects, the limit is {limits.count}")
    total = 0
    for _ in range(count):
        total += _scan_object(reader, limits)
        if total > limits.total:
            raise SourceUnavailable(f"the source's objects inflate to more than {limits.total} bytes")
    return count


def _scan_object(reader: _Reader, limits: PackLimits) -> int:
    """The size of one object once it is whole."""
    first = reader.take(1)[0]
    kind, size = (first >> 4) & 7, first & 15
    shift = 4
    while first & 0x80:
        first = reader.take(1)[0]
        size |= (first & 0x7F) << shift
        shift += 7
        if shift > 7 * _MAX_SIZE_BYTES:
            raise SourceUnavailable("the source sent a pack with a size that cannot be")
    if kind not in _TYPES:
        raise SourceUnavailable(f"the source sent a pack with an object of unknown type {kind}")
    if kind == _REF_DELTA:
        reader.take(_HASH_BYTES)
    if kind == _OFS_DELTA:
        while reader.take(1)[0] & 0x80:
            pass
    if size > limits.object:
        raise SourceUnavailable(f"the source sent an object of {size} bytes, the limit is {limits.object}")
    head = b""
    inflated = 0
    for piece in reader.inflate(size):
        head += piece[: max(0, _DELTA_HEAD_BYTES - len(head))]
        inflated += len(piece)
    if inflated != size:
        raise SourceUnavailable("the source sent an object that is not as long as it says")
    whole = _delta_target(head) if kind in {_OFS_DELTA, _REF_DELTA} else size
    if whole > limits.object:
        raise SourceUnavailable(f"the source sent an object of {whole} bytes, the limit is {limits.object}")
    return max(size, whole)


def _delta_target(head: bytes) -> int:
    """The second number of a delta: the size of what it makes."""
    numbers: list[int] = []
    value = shift = 0
    for byte in head:
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            numbers.append(value)
            value = shift = 0
            if len(numbers) == 2:
                return numbers[1]
    raise SourceUnavailable("the source sent a delta without its sizes")


class _Reader:
    """Reads a file in pieces and gives back what inflating did not need."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._held = b""

    def take(self, size: int) -> bytes:
        """Exactly `size` bytes, a few."""
        while len(self._held) < size:
            piece = self._file.read(PIECE_BYTES)
            if not piece:
                raise SourceUnavailable("the source sent a pack that ends early")
            self._held += piece
        taken, self._held = self._held[:size], self._held[size:]
        return taken

    def inflate(self, limit: int) -> Iterator[bytes]:
        """The pieces of one zlib stream, at most one byte more than `limit` in all."""
        stream = zlib.decompressobj()
        left = limit + 1
        while not stream.eof:
            data = self._held or self._file.read(PIECE_BYTES)
            self._held = b""
            if not data:
                raise SourceUnavailable("the source sent a pack that ends early")
            try:
                while data and not stream.eof:
                    piece = stream.decompress(data, min(PIECE_BYTES, left))
                    data = stream.unconsumed_tail
                    left -= len(piece)
                    yield piece
                    if left <= 0:
                        raise SourceUnavailable("the source sent an object that is longer than it says")
            except zlib.error as error:
                raise SourceUnavailable(f"the source sent a damaged pack: {error}") from None
        self._held = stream.unused_data

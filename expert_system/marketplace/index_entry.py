"""What an index says of one expert: `targets/experts/<name>.json` (formats.md 5.1)."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import Field, ValidationError

from expert_system.errors import SourceUnavailable
from expert_system.marketplace.resolve import Candidate
from expert_system.package.fields import Capability, Name, Part, Publisher, RangeReference, Sha256, Text, Version, Word

MAX_ENTRY_BYTES = 256 * 1024
MAX_VERSIONS = 500


class IndexedBase(Part):
    """One base that a version was trained for."""

    name: Word
    base_digest: Sha256


class IndexedVersion(Part):
    """One version: what is fetched must match tag, commit and digest (5.2)."""

    version: Version
    tag: Annotated[str, Field(min_length=1, max_length=200)]
    commit: Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
    digest: Sha256
    keyid: Sha256
    requires: tuple[RangeReference, ...] = ()
    incompatible_with: tuple[RangeReference, ...] = ()
    base_models: tuple[IndexedBase, ...]
    yanked: bool = False


class IndexEntry(Part):
    """One expert."""

    name: Name
    publisher: Publisher
    repository: Annotated[str, Field(min_length=1, max_length=2000)]
    description: Text
    capabilities: tuple[Capability, ...] = ()
    versions: Annotated[tuple[IndexedVersion, ...], Field(max_length=MAX_VERSIONS)]

    def candidates(self) -> list[Candidate]:
        """The versions as resolution wants them."""
        return [
            Candidate(
                name=self.name,
                version=entry.version,
                source=self.repository,
                tag=entry.tag,
                commit_id=entry.commit,
                digest=entry.digest,
                keyid=entry.keyid,
                yanked=entry.yanked,
                bases=frozenset(base.base_digest for base in entry.base_models),
            )
            for entry in self.versions
        ]

    def encode(self) -> bytes:
        """The file's content."""
        return (json.dumps(self.model_dump(mode="json"), indent=2) + "\n").encode()


def read_entry(data: bytes, where: str) -> IndexEntry:
    """Read one file of an index.

    Raises:
        SourceUnavailable: it is not an entry.
    """
    if len(data) > MAX_ENTRY_BYTES:
        raise SourceUnavailable(f"{where}: larger than {MAX_ENTRY_BYTES} bytes")
    try:
        return IndexEntry.model_validate_json(data)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(step) for step in problem["loc"])
        raise SourceUnavailable(f"{where}: {place}: {problem['msg']}") from None

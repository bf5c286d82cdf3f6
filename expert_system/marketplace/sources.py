"""What this node follows: the experts its owner asked for, and the indexes (formats.md 5.3).

URL[@version|@range|@commit] -> Source;  sources.json -> Wanted, …
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError
from semantic_version import SimpleSpec

from expert_system.errors import ConfigError, InvalidRequest
from expert_system.marketplace.placing import write_file
from expert_system.package.fields import Name, Part, Sha256, Version

MAX_SOURCES_BYTES = 16 * 1024 * 1024
_COMMIT = re.compile(r"[0-9a-f]{40}")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_RANGE = re.compile(r"(\*|[<>=~^!][^/@:]*)")
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where to get an expert from, and which version of it."""

    location: str
    """A URL, a path, or an expert's name in an index."""
    range: str = "*"
    """semantic-version's SimpleSpec."""
    commit_id: str | None = None

    @property
    def is_name(self) -> bool:
        """Whether an index has to say where the expert lives."""
        return _NAME.fullmatch(self.location) is not None

    @classmethod
    def parse(cls, text: str) -> Source:
        """Read `LOCATION[@X.Y.Z|@RANGE|@COMMIT]`; an `@` that means something else belongs to the location.

        Raises:
            InvalidRequest: there is no location.
        """
        location, at, wanted = text.rpartition("@")
        if not at or not location:
            return cls(location=text)
        if _COMMIT.fullmatch(wanted):
            return cls(location=location, commit_id=wanted)
        if _VERSION.fullmatch(wanted):
            return cls(location=location, range=f"=={wanted}")
        if _RANGE.fullmatch(wanted):
            try:
                SimpleSpec(wanted)
            except ValueError:
                raise InvalidRequest(
                    "source", f"{wanted!r} is not a range of versions, such as >=1.0.0,<2.0.0"
                ) from None
            return cls(location=location, range=wanted)
        return cls(location=text)


class Wanted(Part):
    """One expert that the node's owner asked for; its requirements are not listed."""

    name: Name
    location: Annotated[str, Field(min_length=1, max_length=2000)]
    range: Annotated[str, Field(max_length=200)] = "*"
    commit_id: Annotated[str, Field(pattern="^[0-9a-f]{40}$")] | None = None
    held: Version | None = None
    """Set by `rollback`: updates leave the expert at this version until `update NAME` is asked for."""


class FollowedIndex(Part):
    """One marketplace index."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
    location: Annotated[str, Field(min_length=1, max_length=2000)]
    root_sha256: Sha256
    """Of the root metadata that its owner handed over; TUF takes it from there."""


class SourcesFile(Part):
    """The content of sources.json."""

    experts: tuple[Wanted, ...] = ()
    indexes: tuple[FollowedIndex, ...] = ()

    def with_expert(self, wanted: Wanted) -> SourcesFile:
        """The same with one expert added or replaced."""
        kept = [entry for entry in self.experts if entry.name != wanted.name]
        return self.model_copy(update={"experts": tuple(sorted([*kept, wanted], key=lambda entry: entry.name))})

    def without_experts(self, names: Iterable[str]) -> SourcesFile:
        """The same without some experts."""
        gone = set(names)
        return self.model_copy(update={"experts": tuple(e for e in self.experts if e.name not in gone)})


def read_sources(file: Path) -> SourcesFile:
    """What the node follows; nothing when the file is missing.

    Raises:
        ConfigError: the file is damaged.
    """
    try:
        with file.open("rb") as stream:
            return SourcesFile.model_validate_json(stream.read(MAX_SOURCES_BYTES))
    except FileNotFoundError:
        return SourcesFile()
    except (OSError, ValidationError) as error:
        raise ConfigError(f"{file} is damaged: {error}; correct it or delete it") from None


def write_sources(file: Path, content: SourcesFile) -> None:
    """Replace the file in one step."""
    write_file(file, (json.dumps(content.model_dump(mode="json", exclude_defaults=True), indent=2) + "\n").encode())

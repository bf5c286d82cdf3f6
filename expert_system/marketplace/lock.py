"""experts.lock: exactly what runs, so that it runs again tomorrow and elsewhere (formats.md 6.2)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from expert_system.errors import ConfigError
from expert_system.marketplace.placing import write_file
from expert_system.package.fields import Name, Part, Sha256, Version

MAX_LOCK_BYTES = 16 * 1024 * 1024


class Locked(Part):
    """One expert, down to its bytes."""

    name: Name
    version: Version
    source: Annotated[str, Field(max_length=2000)]
    tag: Annotated[str, Field(max_length=200)] | None = None
    commit: Annotated[str, Field(pattern="^[0-9a-f]{40}$")] | None = None
    digest: Sha256
    keyid: Sha256


class Lock(Part):
    """The content of experts.lock; one version for each name."""

    lock_version: Literal[1] = 1
    experts: tuple[Locked, ...] = ()

    def get(self, name: str) -> Locked | None:
        """The entry of one expert."""
        return next((entry for entry in self.experts if entry.name == name), None)

    def replaced(self, *entries: Locked) -> Lock:
        """The same with some entries added or replaced."""
        merged = {entry.name: entry for entry in (*self.experts, *entries)}
        return Lock(experts=tuple(merged[name] for name in sorted(merged)))

    def without(self, name: str) -> Lock:
        """The same without one expert."""
        return Lock(experts=tuple(entry for entry in self.experts if entry.name != name))


def read_lock(file: Path) -> Lock:
    """The lock; an empty one when there is no file.

    Raises:
        ConfigError: the file is damaged.
    """
    try:
        with file.open("rb") as stream:
            lock = Lock.model_validate_json(stream.read(MAX_LOCK_BYTES))
    except FileNotFoundError:
        return Lock()
    except (OSError, ValidationError) as error:
        raise ConfigError(f"{file} is damaged: {error}; restore it, or delete it and install again") from None
    if len({entry.name for entry in lock.experts}) != len(lock.experts):
        raise ConfigError(f"{file} names an expert twice; keep one of the entries")
    return lock


def write_lock(file: Path, lock: Lock) -> None:
    """Replace the file in one step; sorted, so that equal locks are equal bytes."""
    values = {"lock_version": 1, "experts": [entry.model_dump(mode="json") for entry in lock.experts]}
    write_file(file, (json.dumps(values, indent=2, sort_keys=True) + "\n").encode())

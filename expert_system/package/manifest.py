"""The manifest of an expert: the one definition of clause 1 of docs/EXPERT_FORMAT.md.

    manifest.json -> bytes (bounded) -> Manifest

Promise: a Manifest in hand is within every bound of the format; anything else is a PackageError with its JSON path.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from expert_system.domain import MAX_EXPERTS, MAX_WEIGHT, Category, GrammarType
from expert_system.errors import PackageError
from expert_system.package.binding import MAX_BASES, BaseBinding
from expert_system.package.evidence import Evaluation, Training
from expert_system.package.fields import (
    MAX_LIST,
    Capability,
    Fraction,
    Licence,
    Name,
    Part,
    Publisher,
    RangeReference,
    RelativePath,
    Text,
    Timestamp,
    Version,
    Word,
    split_range,
)

MANIFEST_FILE = "manifest.json"
MAX_MANIFEST_BYTES = 1024 * 1024
MAX_STOPS = 16
SHOWN_PROBLEMS = 5


class Routing(Part):
    """What the router knows of the expert."""

    description: Text
    examples: Annotated[tuple[Text, ...], Field(max_length=MAX_LIST)] = ()
    negative_examples: Annotated[tuple[Text, ...], Field(max_length=MAX_LIST)] = ()
    keywords: Annotated[tuple[Word, ...], Field(max_length=MAX_LIST)] = ()
    priority: Fraction = 0.5


class Composition(Part):
    """How the expert goes together with others."""

    category: Category
    load_order: Annotated[int, Field(ge=1, le=10)]
    requires: Annotated[tuple[RangeReference, ...], Field(max_length=MAX_EXPERTS - 1)] = ()
    incompatible_with: Annotated[tuple[RangeReference, ...], Field(max_length=MAX_LIST)] = ()
    weight: Annotated[float, Field(gt=0.0, le=MAX_WEIGHT)] = 1.0
    max_chain: Annotated[int, Field(ge=1, le=MAX_EXPERTS)] = MAX_EXPERTS
    """Most experts in a set that holds this one."""

    @model_validator(mode="after")
    def _load_order_lies_in_the_band(self) -> Self:
        first, last = self.category.band
        if not first <= self.load_order <= last:
            raise ValueError(f"load_order of a {self.category} expert must be {first} or {last}, not {self.load_order}")
        return self


class GrammarFile(Part):
    """A grammar that ships with the package."""

    type: GrammarType
    path: RelativePath


class Decoding(Part):
    """Defaults for sampling; what a caller sets wins."""

    temperature: Annotated[float, Field(ge=0.0, le=2.0)] | None = None
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    min_p: Fraction | None = None
    repetition_penalty: Annotated[float, Field(gt=0.0, le=2.0)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: Annotated[tuple[Word, ...], Field(max_length=MAX_STOPS)] | None = None
    grammar: GrammarFile | None = None


class Manifest(Part):
    """One expert: who made it, what it can do, which base it belongs to."""

    schema_version: Literal["2.0"]
    name: Name
    version: Version
    description: Text
    publisher: Publisher
    license: Licence
    created_at: Timestamp
    base_models: Annotated[tuple[BaseBinding, ...], Field(min_length=1, max_length=MAX_BASES)]
    capabilities: Annotated[tuple[Capability, ...], Field(max_length=MAX_LIST)] = ()
    routing: Routing
    composition: Composition
    decoding: Decoding = Decoding()
    training: Training | None = None
    quality_metrics: Annotated[tuple[Evaluation, ...], Field(max_length=MAX_BASES)] = ()

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        bases = [binding.name for binding in self.base_models]
        digests = {binding.base_digest for binding in self.base_models}
        if len(set(bases)) != len(bases) or len(digests) != len(bases):
            raise ValueError("base_models holds the same base twice")
        for evaluation in self.quality_metrics:
            if evaluation.base not in bases:
                raise ValueError(f"quality_metrics speaks of base {evaluation.base!r}, which base_models does not name")
        for reference in (*self.composition.requires, *self.composition.incompatible_with):
            if split_range(reference)[0] == self.name:
                raise ValueError(f"composition names the expert itself: {reference}")
        return self

    def binding_for(self, base_digest: str) -> BaseBinding | None:
        """The entry for the base with this digest, if the expert was trained for it."""
        return next((binding for binding in self.base_models if binding.base_digest == base_digest), None)


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest; `path` is the file or the package's folder.

    Raises:
        PackageError: missing, too large, or not a manifest; the message holds the JSON path of each problem.
    """
    file = path / MANIFEST_FILE if path.is_dir() else path
    return parse_manifest(read_manifest_bytes(path), where=str(file))


def read_manifest_bytes(path: Path) -> bytes:
    """The bytes of a manifest, and at most one more than it may have; `path` is the file or the package's folder."""
    file = path / MANIFEST_FILE if path.is_dir() else path
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise PackageError(f"{file}: cannot read the manifest: {error.strerror}; is this an expert's folder?") from None


def parse_manifest(data: bytes, where: str = MANIFEST_FILE) -> Manifest:
    """Check the bytes of a manifest; `where` stands before the problem in messages."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise PackageError(
            f"{where}: larger than {MAX_MANIFEST_BYTES} bytes; move data sets and reports into own files"
        )
    try:
        json.loads(data.decode("utf-8"), object_pairs_hook=_distinct)
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise PackageError(f"{where}: {_problems(error)}; see docs/EXPERT_FORMAT.md, clause 1") from None
    except UnicodeDecodeError:
        raise PackageError(f"{where}: not UTF-8 text") from None
    except (ValueError, RecursionError) as error:
        raise PackageError(f"{where}: not JSON: {error}") from None


def dump_manifest(manifest: Manifest) -> bytes:
    """The manifest in its written form: UTF-8, two spaces, a final new line; fields left at their default are left out."""
    values = manifest.model_dump(mode="json", exclude_defaults=True)
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def _distinct(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return found


def _problems(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    told = "; ".join(f"{json_path(problem['loc'])}: {problem['msg']}" for problem in found[:SHOWN_PROBLEMS])
    more = len(found) - SHOWN_PROBLEMS
    return f"{told}; and {more} more" if more > 0 else told


def json_path(location: Sequence[str | int]) -> str:
    """A location in JSON as people write it: base_models[0].adapters[1].r."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return text.removeprefix(".") or "the manifest"

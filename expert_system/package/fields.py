"""The field types that a manifest is built from, and the strict model under all its parts.

Promise: a value that passes these types is within bounds, finite and in its one written form (formats.md 1.1, 1.2).
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from semantic_version import SimpleSpec

MAX_TEXT = 4_000
"""Characters of one free text, such as a description or a routing example."""
MAX_LIST = 200
"""Entries of one list."""
MAX_PATH = 200
"""Characters of one path inside a package."""

_TIMESTAMP = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$"
_NUMBER = r"(0|[1-9]\d{0,5})"
_NAME = r"expert-[a-z0-9]+(-[a-z0-9]+)*"
_PATH_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]*"


class Part(BaseModel):
    """A JSON object whose every key is known; values are never converted silently."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _real_time(text: str) -> str:
    datetime.fromisoformat(text)
    return text


def _known_licence(text: str) -> str:
    try:
        canonical = canonicalize_license_expression(text)
    except InvalidLicenseExpression as error:
        raise ValueError(f"{text!r} is not an SPDX licence expression, such as MIT or Apache-2.0") from error
    if canonical != text:
        raise ValueError(f"write the licence as {canonical!r}")
    return text


def split_range(reference: str) -> tuple[str, SimpleSpec]:
    """Split `name@range`; a bare name is any version (formats.md 1.6).

    Raises:
        ValueError: when the name or the range cannot be read.
    """
    name, at, text = reference.partition("@")
    if re.fullmatch(_NAME, name) is None:
        raise ValueError(f"{name!r} is not an expert's full name, such as expert-sql")
    try:
        return name, SimpleSpec(text if at else "*")
    except ValueError:
        raise ValueError(f"{text!r} is not a range of versions, such as >=1.0.0,<2.0.0") from None


def _readable_range(reference: str) -> str:
    split_range(reference)
    return reference


Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
Word = Annotated[str, Field(min_length=1, max_length=100)]
Name = Annotated[str, Field(pattern=f"^{_NAME}$", max_length=64)]
Version = Annotated[str, Field(pattern=rf"^{_NUMBER}\.{_NUMBER}\.{_NUMBER}$")]
Publisher = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Timestamp = Annotated[str, Field(pattern=_TIMESTAMP), AfterValidator(_real_time)]
"""UTC with whole seconds: 2026-11-22T18:55:00Z."""
Licence = Annotated[str, Field(max_length=200), AfterValidator(_known_licence)]
RelativePath = Annotated[str, Field(pattern=rf"^{_PATH_PART}(/{_PATH_PART})*$", max_length=MAX_PATH)]
"""Forward slashes, no part that starts with a dot, so neither `..` nor a hidden file."""
RangeReference = Annotated[str, Field(max_length=200), AfterValidator(_readable_range)]
"""`name@range`, such as expert-english-basic@>=1.0.0,<2.0.0."""
Capability = Annotated[
    str, Field(pattern=r"^(format|language|tech|domain|task):[a-z0-9]+(-[a-z0-9]+)*$", max_length=100)
]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]

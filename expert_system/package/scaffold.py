"""Starts an expert's repository from the template (`expert-cli new`).

experts/template/ + a base -> NAME/ with a manifest that already binds to it
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from string import Template

import expert_system
from expert_system.domain import Category, expert_name
from expert_system.errors import ConfigError
from expert_system.package.base import BaseDescription
from expert_system.package.manifest import MANIFEST_FILE, parse_manifest

_TEXT = {".json", ".md", ".jsonl", ""}
_RENAMED = {"gitattributes": ".gitattributes"}
"""A file of this name in our own repository would change how git treats it here."""


def new_expert(
    name: str, folder: Path, base: BaseDescription, *, publisher: str, category: Category, description: str
) -> Path:
    """Write a new expert's folder; its weights come from training.

    Args:
        name: of the expert, with or without "expert-".
        folder: to make; must not exist or be empty.
        base: what it will be trained for.
        publisher: who will sign it.
        category: what kind of thing it will know.
        description: one sentence.

    Raises:
        ConfigError: the folder is not empty, or the template is missing.
        PackageError: the values do not make a manifest.
    """
    full = expert_name(name)
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty; choose another folder")
    values = {
        "name": full,
        "description": description,
        "publisher": publisher,
        "created_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "base_name": base.name,
        "base_digest": base.binding,
        "tokenizer_sha256": base.tokenizer_sha256,
        "chat_template_sha256": base.chat_template_sha256,
        "capability": full.removeprefix("expert-"),
        "category": category.value,
        "load_order": str(category.band[0]),
    }
    files = {file: _filled(file, values) for file in _template_files()}
    manifest = next(data for file, data in files.items() if file.name == MANIFEST_FILE)
    parse_manifest(manifest)
    for file, data in files.items():
        place = folder / file.relative_to(_template()).with_name(_RENAMED.get(file.name, file.name))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return folder


def _filled(file: Path, values: dict[str, str]) -> bytes:
    if file.suffix not in _TEXT:
        return file.read_bytes()
    quoted = {key: json.dumps(value)[1:-1] for key, value in values.items()} if file.suffix == ".json" else values
    return Template(file.read_text(encoding="utf-8")).safe_substitute(quoted).encode()


def _template_files() -> list[Path]:
    return sorted(file for file in _template().rglob("*") if file.is_file())


def _template() -> Path:
    """Inside the installed package, or in the working copy."""
    package = Path(expert_system.__file__).parent
    for place in (package / "_template", package.parent / "experts" / "template"):
        if (place / MANIFEST_FILE).is_file():
            return place
    raise ConfigError("the template of experts is missing from this installation; install expert-system again")

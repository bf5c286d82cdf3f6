"""Writes docs/manifest.schema.json from the manifest's one definition: `python -m expert_system.package.schema [--check]`.

Promise: with `--check` nothing is written, and the exit code is 1 when the committed file differs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from expert_system.package.manifest import Manifest

SCHEMA_FILE = Path("docs/manifest.schema.json")


def schema() -> str:
    """The JSON Schema of a manifest, as committed."""
    described = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Manifest.model_json_schema()}
    return json.dumps(described, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write the file, or compare it; paths are relative to the repository."""
    if "--check" not in arguments:
        SCHEMA_FILE.parent.mkdir(exist_ok=True)
        SCHEMA_FILE.write_text(schema(), encoding="utf-8")
        return 0
    if SCHEMA_FILE.is_file() and SCHEMA_FILE.read_text(encoding="utf-8") == schema():
        return 0
    sys.stderr.write(f"{SCHEMA_FILE} is not up to date; run `python -m expert_system.package.schema`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

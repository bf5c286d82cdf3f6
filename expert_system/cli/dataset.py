"""`expert-cli dataset`: the data that an expert is trained and measured on.

EXPERT FOLDER -> train.jsonl, validation.jsonl, test.jsonl
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from expert_system.cli.screen import Json, result, table

if TYPE_CHECKING:
    from expert_system.training.recipe import Recipe

Manifest = Annotated[
    Path, typer.Option("--manifest", metavar="PATH", help="The expert's folder, or its manifest.json or recipe.json.")
]

app = typer.Typer(help="Training data of an expert.", no_args_is_help=True)


@app.callback()
def _dataset() -> None:
    """Training data of an expert."""


@app.command("generate")
def generate(
    *,
    manifest: Manifest,
    out: Annotated[Path, typer.Option("--out", help="Folder for train.jsonl, validation.jsonl and test.jsonl.")],
    as_json: Json = False,
) -> None:
    """Write the data set that an expert's recipe describes; the same recipe gives the same bytes."""
    from expert_system.training.dataset import generate as generate_parts

    folder, recipe = read_folder(manifest)
    out.mkdir(parents=True, exist_ok=True)
    parts = generate_parts(recipe.dataset, folder)
    for name, part in parts.items():
        (out / f"{name}.jsonl").write_bytes(part.to_jsonl())
    rows = [{"part": name, "examples": len(part.examples), "sha256": part.sha256} for name, part in parts.items()]
    if as_json:
        result(rows)
    else:
        table(["part", "examples", "sha256"], [[str(value) for value in row.values()] for row in rows])


def read_folder(manifest: Path) -> tuple[Path, Recipe]:
    """The expert's folder and its recipe."""
    from expert_system.training.recipe import read_recipe

    folder = manifest if manifest.is_dir() else manifest.parent
    return folder, read_recipe(folder / "recipe.json")

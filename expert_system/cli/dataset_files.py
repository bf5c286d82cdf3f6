"""`expert-cli dataset import` and `export`: rows from and for other tools.

JSON lines, Parquet, CSV, a folder of Hugging Face `datasets` <-> an expert's parts
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expert_system.cli.screen import Json, note, result

if TYPE_CHECKING:
    from expert_system.training.data.intake import Taken

HUGGING_FACE = "huggingface"


def register(app: typer.Typer) -> None:
    """Put the commands under `expert-cli dataset`."""
    app.command("import")(import_rows)
    app.command("export")(export_rows)


def import_rows(
    *,
    manifest: Annotated[Path, typer.Option("--manifest", metavar="PATH", help="The expert's folder.")],
    source: Annotated[
        Path,
        typer.Option(
            "--from",
            metavar="PATH",
            help="A .jsonl, .parquet or .csv file, or a folder with a file a part or of `datasets`.",
        ),
    ],
    template_column: Annotated[
        str | None,
        typer.Option(
            "--template-column",
            help="The key that says what a row was written from, such as its topic; no value of it is in two parts.",
            show_default=False,
        ),
    ] = None,
    validation_share: Annotated[float, typer.Option(min=0.001, max=0.5, help="Of a source without parts.")] = 0.1,
    test_share: Annotated[float, typer.Option(min=0.001, max=0.5, help="Of a source without parts.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Shuffles the templates of a source without parts.")] = 0,
    near_duplicates: Annotated[
        bool, typer.Option("--near-duplicates/--no-near-duplicates", help="Drop near duplicates (router's encoder).")
    ] = True,
    encoder: Annotated[
        Path | None,
        typer.Option(
            "--encoder", metavar="PATH", help="The encoder's folder; without it the router's.", show_default=False
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Replace a recipe that makes its rows otherwise.")] = False,
    as_json: Json = False,
) -> None:
    """Take rows from elsewhere into an expert's folder, sifted and split, and pin them in its recipe."""
    from expert_system.errors import ConfigError
    from expert_system.training.data.intake import Split, take
    from expert_system.training.data.pipeline import Near
    from expert_system.training.dataset import PARTS, Part, write_parts
    from expert_system.training.recipe_fields import NEAR_DUPLICATE_COSINE, PARTS_FOLDER

    folder = manifest if manifest.is_dir() else manifest.parent
    path = folder / "recipe.json"
    recipe: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    before = recipe.get("dataset", {}).get("generator", "files")
    if before != "files" and not yes:
        raise ConfigError(f"{path} makes its rows with {before!r}; --yes replaces that by the imported files")
    near: Near = "left out with --no-near-duplicates"
    if near_duplicates:
        from expert_system.app import embedder

        near = (embedder(encoder), NEAR_DUPLICATE_COSINE)
    shares = {"train": 1 - validation_share - test_share, "validation": validation_share, "test": test_share}
    taken = take(source, Split(shares=shares, seed=seed, template_column=template_column), near=near)
    parts = {name: Part(examples=taken.parts[name]) for name in PARTS}
    for name, part in parts.items():
        if not part.examples:
            raise ConfigError(f"{source}: nothing is left for the part {name}; give more rows or other shares")
    write_parts(parts, folder / PARTS_FOLDER)
    section: dict[str, Any] = {"generator": "files", "seed": seed, "parts": PARTS_FOLDER}
    section |= {name: {"sha256": part.sha256} for name, part in parts.items()}
    path.write_text(json.dumps({**recipe, "dataset": section}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    _tell(taken)
    counts = {name: len(part.examples) for name, part in parts.items()}
    if as_json:
        result({"parts": counts, "recipe": section})
    else:
        note(f"{', '.join(f'{count} rows in {name}' for name, count in counts.items())}; {path} names their digests")


def export_rows(
    *,
    manifest: Annotated[Path, typer.Option("--manifest", metavar="PATH", help="The expert's folder.")],
    form: Annotated[
        str, typer.Option("--format", help="row, instruction, chat, preference (JSON lines) or huggingface.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for one file a part, or for `datasets.load_from_disk`.")],
) -> None:
    """Write an expert's rows as other tools read them."""
    from expert_system.errors import ConfigError
    from expert_system.training.data import huggingface
    from expert_system.training.data.formats import FORMATS
    from expert_system.training.dataset import Part, generate, write_parts
    from expert_system.training.recipe import read_recipe

    if form not in {*FORMATS, HUGGING_FACE}:
        raise ConfigError(f"no format is named {form!r}; there are {', '.join([*FORMATS, HUGGING_FACE])}")
    folder = manifest if manifest.is_dir() else manifest.parent
    parts = generate(read_recipe(folder / "recipe.json").dataset, folder)
    if form == HUGGING_FACE:
        huggingface.save({name: part.examples for name, part in parts.items()}, out)
    else:
        write_parts({name: Part(examples=part.examples, form=form) for name, part in parts.items()}, out)
    note(f"{', '.join(f'{len(part.examples)} rows in {name}' for name, part in parts.items())} are in {out}")


def _tell(taken: Taken) -> None:
    for step in taken.steps:
        for reason, count in step.dropped.items():
            note(f"{count} dropped by {step.step}: {reason}")
        if step.step == "near duplicates" and step.skipped is not None:
            note(f"near duplicates were not looked for: {step.skipped}")

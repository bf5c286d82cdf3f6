"""`expert-cli dataset`: the data that an expert is trained and measured on.

EXPERT FOLDER -> train.jsonl, validation.jsonl, test.jsonl -> is it fit to train on, what is it made of
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expert_system.cli import dataset_files
from expert_system.cli.connect import Server
from expert_system.cli.screen import Json, note, result, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from expert_system.training.data.pipeline import Near
    from expert_system.training.data.row import Row
    from expert_system.training.dataset import Part
    from expert_system.training.dataset_recipe import DatasetRecipe
    from expert_system.training.recipe import Recipe

WRITTEN_BY_A_PROGRAM = "a program's rows share its wordings by design; --near-duplicates looks all the same"

Manifest = Annotated[
    Path, typer.Option("--manifest", metavar="PATH", help="The expert's folder, or its manifest.json or recipe.json.")
]
NearDuplicates = Annotated[
    bool | None,
    typer.Option(
        "--near-duplicates/--no-near-duplicates",
        help="Look for near duplicates with the router's encoder; without this, for all rows but a program's.",
        show_default=False,
    ),
]
EncoderFolder = Annotated[
    Path | None,
    typer.Option(
        "--encoder", metavar="PATH", help="The encoder's folder; without it the router's.", show_default=False
    ),
]

app = typer.Typer(help="Training data of an expert.", no_args_is_help=True)


@app.callback()
def _dataset() -> None:
    """Training data of an expert."""


@app.command("generate")
def generate(
    *,
    manifest: Manifest,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for train.jsonl, validation.jsonl and test.jsonl; a provider's go into the expert's folder.",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Start although the estimate is over the cost limit; stop at the limit.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Estimate the cost and ask nothing.")] = False,
    near_duplicates: NearDuplicates = None,
    encoder: EncoderFolder = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Write the data set that an expert's recipe describes.

    A program writes the same bytes each time. A provider is asked within the recipe's limits of pace and cost; every
    paid answer is kept in journal.jsonl, so run it again to go on after an interruption without paying twice.
    """
    from expert_system.errors import ConfigError
    from expert_system.training.dataset import generate as generate_parts
    from expert_system.training.dataset import write_parts
    from expert_system.training.provider_recipe import ProviderRecipe

    folder, recipe = read_folder(manifest)
    section = recipe.dataset
    if isinstance(section, ProviderRecipe):
        from expert_system.cli.dataset_provider import Run, run

        near = near_of(section, near_duplicates, encoder)
        place = out or folder / section.parts
        parts = run(
            Run(recipe=section, out=place, cases=cases_of(folder), near=near, yes=yes, dry_run=dry_run, server=server)
        )
        if parts is None:
            return
        note(f"the parts, report.json and journal.jsonl are in {place}")
    else:
        if out is None:
            raise ConfigError("say where to with --out; training writes these rows again from the recipe")
        parts = generate_parts(section, folder)
        write_parts(parts, out)
    _show_parts(parts, as_json=as_json)


@app.command("validate")
def validate(
    *,
    manifest: Manifest,
    near_duplicates: NearDuplicates = None,
    encoder: EncoderFolder = None,
    as_json: Json = False,
) -> None:
    """Check every row: schema, executed answer, duplicates, leaks between the parts, contact with the test cases.

    The exit code is 1 when anything was found.
    """
    from dataclasses import asdict

    from expert_system.training.data.inspection import inspect
    from expert_system.training.dataset import generate as generate_parts

    folder, recipe = read_folder(manifest)
    near = near_of(recipe.dataset, near_duplicates, encoder)
    parts = {name: part.examples for name, part in generate_parts(recipe.dataset, folder).items()}
    found = inspect(parts, cases_of(folder), near)
    if as_json:
        steps = {name: [asdict(step) for step in steps] for name, steps in found.steps.items()}
        result({"clean": found.clean, "leaks": list(found.leaks), "steps": steps})
    else:
        lines = [
            [name, step.step, str(step.seen), str(step.seen - step.kept), step.skipped or "; ".join(step.dropped)]
            for name, steps in found.steps.items()
            for step in steps
        ]
        table(["part", "looked at", "rows", "wrong", "what"], lines)
        for leak in found.leaks:
            note(f"leak: {leak}")
    if not found.clean:
        raise typer.Exit(1)


@app.command("stats")
def stats(*, manifest: Manifest, as_json: Json = False) -> None:
    """Show what each part is made of: rows, templates, lengths, tags, checks, cost."""
    from expert_system.training.data.statistics import statistics
    from expert_system.training.dataset import generate as generate_parts

    folder, recipe = read_folder(manifest)
    parts = generate_parts(recipe.dataset, folder)
    figures = {name: statistics(part.examples) for name, part in parts.items()}
    if as_json:
        result(figures)
        return
    rows = [[name, figure, _shown(value)] for name, found in figures.items() for figure, value in found.items()]
    table(["part", "figure", "value"], rows)


dataset_files.register(app)


def read_folder(manifest: Path) -> tuple[Path, Recipe]:
    """The expert's folder and its recipe."""
    from expert_system.training.recipe import read_recipe

    folder = manifest if manifest.is_dir() else manifest.parent
    return folder, read_recipe(folder / "recipe.json")


def near_of(section: DatasetRecipe, wanted: bool | None, encoder: Path | None) -> Near:
    """How near duplicates are found, or why not.

    Raises:
        ConfigError: they are to be looked for and there is no encoder.
    """
    from expert_system.training.dataset_recipe import FamiliesRecipe, ProgramRecipe
    from expert_system.training.recipe_fields import NEAR_DUPLICATE_COSINE

    if wanted is False:
        return "left out with --no-near-duplicates"
    cosine = getattr(section, "near_duplicate_cosine", NEAR_DUPLICATE_COSINE)
    if wanted is None and isinstance(section, FamiliesRecipe | ProgramRecipe):
        return WRITTEN_BY_A_PROGRAM
    if cosine is None:
        return "near_duplicate_cosine is null in the recipe"
    from expert_system.app import embedder

    return embedder(encoder), cosine


def cases_of(folder: Path) -> Sequence[Row]:
    """The expert's test cases as rows; none when the file is not there yet."""
    from expert_system.training.cases import CASES_FILE, read_cases
    from expert_system.training.data.row import Row

    path = folder / CASES_FILE
    if not path.is_file():
        note(f"{path} is not there, so nothing is held against test cases")
        return ()
    return [Row(messages=case.messages, answer=case.answer, template=CASES_FILE) for case in read_cases(path).cases]


def _show_parts(parts: Mapping[str, Part], *, as_json: bool) -> None:
    rows = [{"part": name, "examples": len(part.examples), "sha256": part.sha256} for name, part in parts.items()]
    if as_json:
        result(rows)
    else:
        table(["part", "examples", "sha256"], [[str(value) for value in row.values()] for row in rows])


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(inner)}" for name, inner in value.items())
    return str(value)

"""`expert-cli dataset generate` and `train`: from a recipe to an expert's adapter.

EXPERT FOLDER -> data set -> adapter + run.json
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expert_system.cli.screen import Json, note, result, table

if TYPE_CHECKING:
    from expert_system.training.train import StepReport

REPORT_EVERY_STEPS = 10

Manifest = Annotated[
    Path, typer.Option("--manifest", metavar="PATH", help="The expert's folder, or its manifest.json or recipe.json.")
]

dataset_app = typer.Typer(help="Training data of an expert.", no_args_is_help=True)


@dataset_app.callback()
def _dataset() -> None:
    """Training data of an expert."""


@dataset_app.command("generate")
def generate(
    *,
    manifest: Manifest,
    out: Annotated[Path, typer.Option("--out", help="Folder for train.jsonl, validation.jsonl and test.jsonl.")],
    as_json: Json = False,
) -> None:
    """Write the data set that an expert's recipe describes; the same recipe gives the same bytes."""
    from expert_system.training.dataset import generate as generate_parts

    folder, recipe = _recipe(manifest)
    out.mkdir(parents=True, exist_ok=True)
    parts = generate_parts(recipe.dataset, folder)
    for name, part in parts.items():
        (out / f"{name}.jsonl").write_bytes(part.to_jsonl())
    rows = [{"part": name, "examples": len(part.examples), "sha256": part.sha256} for name, part in parts.items()]
    if as_json:
        result(rows)
    else:
        table(["part", "examples", "sha256"], [[str(value) for value in row.values()] for row in rows])


def train(
    *,
    manifest: Manifest,
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="PATH|NAME", help="The base; without it the recipe's.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for checkpoints and results; a run there is resumed.")],
    base_revision: Annotated[
        str, typer.Option("--base-revision", help="Where the base comes from, for the manifest.")
    ] = "unknown",
) -> None:
    """Train an expert's adapter as its recipe says and put it into the expert's folder.

    Run it again with the same --out to resume a run that was cut off.
    """
    from expert_system import config
    from expert_system.package.base import describe_base
    from expert_system.package.resolve_base import resolve_base
    from expert_system.training.dataset import generate as generate_parts
    from expert_system.training.install import install_run
    from expert_system.training.train import train as train_adapter

    folder, recipe = _recipe(manifest)
    described = describe_base(resolve_base(base or recipe.training.base, config.read().config.home))
    train_adapter(
        recipe,
        generate_parts(recipe.dataset, folder),
        base=described.path,
        base_digest=described.binding,
        out=out,
        report=_report,
    )
    install_run(out, folder, base_revision)
    note(f"the adapter, run.json and the manifest's training are in {folder}")


def _recipe(manifest: Path) -> tuple[Path, Any]:
    from expert_system.training.recipe import read_recipe

    folder = manifest if manifest.is_dir() else manifest.parent
    return folder, read_recipe(folder / "recipe.json")


def _report(step: StepReport) -> None:
    if step.step % REPORT_EVERY_STEPS and step.validation_loss is None:
        return
    held_out = f", held-out {step.validation_loss:.4f}" if step.validation_loss is not None else ""
    note(
        f"step {step.step}/{step.steps}: loss {step.loss:.4f}{held_out}, "
        f"{step.tokens_per_s:.0f} tokens/s, {step.remaining_s / 60:.0f} min left"
    )

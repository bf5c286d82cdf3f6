"""`expert-cli train`: from a recipe to an expert's adapter.

RECIPE -> data set -> adapter + run.json -> EXPERT FOLDER
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from expert_system.cli.screen import note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from expert_system.training.steps import StepReport

LINE_EVERY_STEPS = 10
"""Without a terminal."""
RECIPE = "recipe.json"


def train(
    *,
    manifest: Annotated[
        Path,
        typer.Option(
            "--manifest", metavar="PATH", help="The expert's folder, its manifest.json, or any recipe file in it."
        ),
    ],
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="PATH|NAME", help="The base; without it the recipe's.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for checkpoints and results; a run there is resumed.")],
    base_revision: Annotated[
        str | None,
        typer.Option(
            "--base-revision",
            help="Where the base comes from, for the manifest; without it what stands there of this base.",
            show_default=False,
        ),
    ] = None,
    install: Annotated[
        bool, typer.Option(help="Put the adapter into the expert's folder; otherwise it stays in --out.")
    ] = True,
) -> None:
    """Train an expert's adapter as its recipe says and put it into the expert's folder.

    Run it again with the same --out to resume a run that was cut off.
    """
    from expert_system import config
    from expert_system.package.base import describe_base
    from expert_system.package.resolve_base import resolve_base
    from expert_system.training.dataset import generate
    from expert_system.training.install import install_run
    from expert_system.training.recipe import read_recipe
    from expert_system.training.train import train as train_adapter

    folder = manifest if manifest.is_dir() else manifest.parent
    named = manifest.is_file() and manifest.name != "manifest.json"
    recipe = read_recipe(manifest if named else folder / RECIPE)
    described = describe_base(resolve_base(base or recipe.training.base, config.read().config.home))
    with _progress() as report:
        adapter = train_adapter(
            recipe,
            generate(recipe.dataset, folder),
            base=described.path,
            base_digest=described.binding,
            out=out,
            report=report,
        )
    if not install:
        note(f"the adapter is in {adapter}, its record in {out}")
        return
    install_run(out, folder, base_revision, described)
    note(f"the adapter, run.json and the manifest's training are in {folder}")


@contextmanager
def _progress() -> Iterator[Callable[[StepReport], None]]:
    """A bar on a terminal, a line every few steps elsewhere; both on stderr."""
    if not sys.stderr.isatty():
        yield _write_line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("starting", total=None)

        def draw(step: StepReport) -> None:
            bar.update(task, completed=step.step, total=step.steps, description=_figures(step))
            if step.validation_loss is not None:
                bar.console.print(_line(step))

        yield draw


def _write_line(step: StepReport) -> None:
    if step.step % LINE_EVERY_STEPS == 0 or step.validation_loss is not None:
        note(_line(step))


def _line(step: StepReport) -> str:
    return f"step {step.step}/{step.steps}: {_figures(step)}"


def _figures(step: StepReport) -> str:
    held_out = f", held-out {step.validation_loss:.4f}" if step.validation_loss is not None else ""
    left = f"{step.remaining_s / 60:.0f} min" if step.remaining_s >= 120 else f"{step.remaining_s:.0f} s"
    return f"loss {step.loss:.4f}{held_out}, {step.tokens_per_s:.0f} tokens/s, {left} left"

"""`expert-cli train`: from a recipe to an expert's adapter.

EXPERT FOLDER -> data set -> adapter + run.json
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from expert_system.cli.dataset import Manifest, read_folder
from expert_system.cli.screen import note

if TYPE_CHECKING:
    from expert_system.training.train import StepReport

REPORT_EVERY_STEPS = 10


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

    folder, recipe = read_folder(manifest)
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


def _report(step: StepReport) -> None:
    if step.step % REPORT_EVERY_STEPS and step.validation_loss is None:
        return
    held_out = f", held-out {step.validation_loss:.4f}" if step.validation_loss is not None else ""
    note(
        f"step {step.step}/{step.steps}: loss {step.loss:.4f}{held_out}, "
        f"{step.tokens_per_s:.0f} tokens/s, {step.remaining_s / 60:.0f} min left"
    )

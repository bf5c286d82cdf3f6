"""`expert-cli router train`, `calibrate` and `evaluate`: the router's model, rebuilt from files.

written data + MiniLM -> router_models/vN/ (encoder) -> calibration.json -> evaluation.json
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expert_system.cli.screen import Json, note, result, table

if TYPE_CHECKING:
    from expert_system.training.router.fit import Report

ROOT = Path(__file__).resolve().parents[2]
REPORT_EVERY_STEPS = 10

Model = Annotated[Path, typer.Option("--model", help="The router model's folder, such as router_models/v2.")]
Experts = Annotated[
    Path, typer.Option("--experts", help="Folder with the official experts' folders.", show_default="experts/")
]

app = typer.Typer(help="Train, calibrate and measure the router's model.", no_args_is_help=True)


@app.command("train")
def train(
    *,
    source: Annotated[
        Path, typer.Option("--source", help="Folder of all-MiniLM-L6-v2: model.safetensors and tokenizer.json.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the new model; its name is the version.")],
    layers: Annotated[
        str | None, typer.Option("--layers", help="Layers of MiniLM to keep, 0 to 5, such as 0,2,5; 'none' keeps none.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=0, help="Steps of each stage; 0 keeps MiniLM as it is.")
    ] = None,
) -> None:
    """Train the router's encoder on the written data; minutes on two cores. Calibrate it afterwards."""
    from dataclasses import replace

    from tokenizers import Tokenizer

    from expert_system.routing import windows
    from expert_system.routing.prompt import read_prompt
    from expert_system.training.router.corpus import Split, read_corpus
    from expert_system.training.router.examples import TRAINING, generate
    from expert_system.training.router.fit import Recipe, Trainer, settings
    from expert_system.training.router.labels import labels_of
    from expert_system.training.router.model import Source
    from expert_system.training.router.reader import Reader
    from expert_system.training.router.release import write_model

    recipe = Recipe()
    if layers is not None:
        recipe = replace(recipe, layers=_layers(layers))
    if steps is not None:
        recipe = replace(recipe, distil_steps=steps, steps=steps)
    pretrained = Source(folder=source)
    pretrained.require()
    corpus = read_corpus()
    examples = generate(corpus, Split.TRAIN, TRAINING)
    tokenizer = Tokenizer.from_file(str(pretrained.tokenizer))
    tokenizer.no_padding()  # its file pads every text to 128 ids
    tokenizer.no_truncation()
    reader = Reader(
        tokenizer=tokenizer,
        asked=lambda text: read_prompt(text).asked,
        excerpt=windows.excerpt,
        within=windows.within,
        max_tokens=recipe.max_tokens,
    )
    labels = labels_of(corpus)
    note(f"{len(examples):,} examples for {len(corpus.experts)} experts")
    model = Trainer(recipe, pretrained, reader, corpus, labels, examples).run(_report)
    write_model(
        out,
        model,
        labels=labels,
        tokenizer=pretrained.tokenizer.read_bytes(),
        max_tokens=recipe.max_tokens,
        about=settings(recipe, examples, corpus, pretrained),
    )
    note(f"the encoder is in {out}; next: expert-cli router calibrate --model {out}")


@app.command("calibrate")
def calibrate(*, model: Model, experts: Experts = ROOT / "experts") -> None:
    """Fit the weights and thresholds of the score on the calibration split; writes calibration.json."""
    from expert_system.cli.routed import calibrated, official_manifests
    from expert_system.routing.encoder import Encoder
    from expert_system.training.router.corpus import read_corpus
    from expert_system.training.router.release import json_bytes, write_files

    encoder = Encoder.load(model)
    found = calibrated(encoder, read_corpus(), official_manifests(experts))
    write_files(model, {"calibration.json": json_bytes(found.model_dump(mode="json"))})
    note(f"thresholds {found.threshold} and {found.second_threshold}; written to {model / 'calibration.json'}")


@app.command("evaluate")
def evaluate(
    *,
    model: Model,
    experts: Experts = ROOT / "experts",
    against: Annotated[
        list[Path] | None,
        typer.Option("--against", help="Another model's folder for the table of choices; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure the whole router on the held-out test split; writes evaluation.json and card.md."""
    import json

    from expert_system.cli.routed import choices, evaluated, official_manifests
    from expert_system.routing.model import load_model
    from expert_system.training.router.card import card
    from expert_system.training.router.corpus import read_corpus
    from expert_system.training.router.release import json_bytes, write_files

    loaded, corpus, official = load_model(model), read_corpus(), official_manifests(experts)
    found = evaluated(loaded.encoder, loaded.calibration, corpus, official)
    found["choices"] = choices([loaded, *map(load_model, against or ())], corpus, official)
    beside = {
        name: json.loads((model / f"{name}.json").read_bytes()) for name in ("training", "encoder", "calibration")
    }
    text = card(loaded.encoder.version, beside["training"], beside["encoder"], beside["calibration"], found)
    write_files(model, {"evaluation.json": json_bytes(found), "card.md": text.encode()})
    if as_json:
        result(found)
        return
    columns = ("prompts", "top1", "set_f1", "abstention_auroc", "abstained_rightly", "calibration_error")
    groups = {name: found[name] for name in ("all_experts", "official_only", "added_after_training")}
    for part in ("by_language", "by_kind", "by_family"):
        groups |= {f"{part.removeprefix('by_')} {name}": row for name, row in found[part].items()}
    table(["group", *columns], [[name, *(_shown(row[column]) for column in columns)] for name, row in groups.items()])


def _layers(text: str) -> tuple[int, ...]:
    from expert_system.errors import ConfigError

    if text == "none":
        return ()
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--layers {text!r}: write numbers from 0 to 5 with commas, or none") from None
    if not all(0 <= number <= 5 for number in found) or list(found) != sorted(set(found)):
        raise ConfigError(f"--layers {text!r}: each layer once, rising, from 0 to 5")
    return found


def _report(report: Report) -> None:
    if report.step % REPORT_EVERY_STEPS == 0 or report.step == report.steps:
        left = report.seconds / report.step * (report.steps - report.step)
        note(f"{report.stage} {report.step}/{report.steps}: loss {report.loss:.3f}, {left:.0f} s left")


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)

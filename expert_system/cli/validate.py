"""`expert-cli validate`: an expert's figures, measured through the served engine.

EXPERT FOLDER or NAME -> held-out cases -> served engine -> answers.jsonl -> report, evaluation.json, manifest.json
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expert_system.cli.connect import Base, Place, Server, connected
from expert_system.cli.screen import Json, note, result, table

if TYPE_CHECKING:
    from expert_system.client import ExpertList
    from expert_system.package.stored import StoredExpert
    from expert_system.training.validate import Subject

Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FOLDER",
        help="For answers, report and plot; $EXPERT_HOME/evaluations/NAME-VERSION by default. Run again to go on.",
        show_default=False,
    ),
]
EVALUATIONS = "evaluations"
"""Below $EXPERT_HOME."""
MAX_TOKENS = 200


def validate(
    *,
    expert: Annotated[
        str, typer.Option("--expert", metavar="PATH|NAME", help="The expert's folder, or an installed expert.")
    ],
    cases: Annotated[
        Path | None, typer.Option("--cases", metavar="FILE", help="Held-out cases instead of the expert's own.")
    ] = None,
    grammar: Annotated[
        bool, typer.Option("--grammar", help="Also measure the expert held to each case's JSON Schema.")
    ] = False,
    quote: Annotated[
        bool, typer.Option("--quote", help="Also measure it held to the schema and to the words of the request.")
    ] = False,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Of each answer.")] = MAX_TOKENS,
    out: Out = None,
    server: Server = None,
    base: Base = None,
    as_json: Json = False,
) -> None:
    """Measure an expert on held-out cases through the served engine, beside the base and the base with examples.

    A folder is installed with --dev, so its server must run with --dev; its evaluation.json, evaluation.png and
    manifest.json are written. For an installed expert only the report is. Answers are kept as they come: a run that was
    cut off goes on where it stopped.
    """
    if grammar and quote:
        raise typer.BadParameter("give --grammar or --quote, not both; --quote holds to the schema too")
    asyncio.run(
        _validate(
            expert,
            Place(server=server, base=base),
            cases=cases,
            grammar=grammar,
            quote=quote,
            max_tokens=max_tokens,
            out=out,
            as_json=as_json,
        )
    )


async def _validate(
    expert: str,
    place: Place,
    *,
    cases: Path | None,
    grammar: bool,
    quote: bool,
    max_tokens: int,
    out: Path | None,
    as_json: bool,
) -> None:
    from expert_system.cli.asking import ask_all
    from expert_system.training.answers import AnswerBook
    from expert_system.training.held_out import held_out
    from expert_system.training.report import write_report
    from expert_system.training.validate import HeldTo, evaluation_of, judge, plan, record, report_of

    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    held_to = HeldTo.QUOTES if quote else HeldTo.SCHEMA if grammar else None
    stored, folder = installed(expert)
    held = held_out(folder or stored.path, cases)
    room = out or evaluations() / f"{stored.manifest.name}-{stored.manifest.version}"
    async with connected(Place(server=place.server, base=place.base, dev=not stored.verified)) as client:
        subject = subject_of(stored, await client.experts())
        asked = plan(held, subject, max_tokens=max_tokens, held_to=held_to)
        with AnswerBook(room) as book:
            for who, questions in asked.items():
                await ask_all(client, questions, book, whom=who)
            results = await asyncio.to_thread(judge, held.cases, asked, book)
    evaluation = evaluation_of(held, subject, results, evaluated_at=started)
    command = f"expert-cli validate --expert {expert}" + (" --grammar" if grammar else " --quote" if quote else "")
    report = report_of(held, subject, results, evaluation, command=command, max_tokens=max_tokens, held_to=held_to)
    places = [room] if folder is None else [room, folder]
    if folder is not None:
        record(folder, evaluation, report)
    write_report(report, room, plots=places)
    if as_json:
        result(report)
    else:
        _show(report)
    refused = sum(report["refused_requests"].values())
    if refused:
        note(f"{refused} requests were refused by the server and count as wrong; refused_requests says whose")
    note(f"the report is {room / 'report.md'}" + (f", the figures are in {folder}" if folder is not None else ""))


def installed(expert: str) -> tuple[StoredExpert, Path | None]:
    """The package to measure: a folder is installed with --dev and named; a name is looked up in the store.

    Raises:
        UnknownExpert: there is neither such a folder nor such an expert.
    """
    from expert_system.cli.store import open_store
    from expert_system.domain import ExpertRef

    folder = Path(expert)
    with open_store() as store:
        if folder.is_dir():
            return store.install_dev(folder), folder
        reference = ExpertRef.parse(expert)
        return store.find(reference.name, reference.version), None


def subject_of(stored: StoredExpert, served: ExpertList) -> Subject:
    """An expert on the base that is served.

    Raises:
        WrongBase: it was not trained for that base.
    """
    from expert_system.errors import WrongBase
    from expert_system.training.answers import Asked, identity
    from expert_system.training.validate import Subject, measured_adapters

    manifest = stored.manifest
    binding = manifest.binding_for(served.base_digest)
    if binding is None:
        wanted = ", ".join(base.name for base in manifest.base_models)
        raise WrongBase(f"{manifest.name} was trained for {wanted}, and the server runs {served.base}; give --base")
    adapters = measured_adapters(binding, stored.files)
    return Subject(
        name=manifest.name,
        version=manifest.version,
        asked=Asked(
            reference=f"{manifest.name}@{manifest.version}",
            digest=stored.digest,
            identity=identity(manifest, served.base_digest, adapters),
        ),
        base=binding.name,
        base_digest=served.base_digest,
        quantization=binding.validated_on[0],
        adapters=adapters,
        dtype=served.dtype,
    )


def evaluations() -> Path:
    """Where answers and reports are kept unless --out says otherwise."""
    from expert_system import config

    return config.read().config.home / EVALUATIONS


def _show(report: dict[str, Any]) -> None:
    from expert_system.training.report import COLUMNS, shown

    columns = {**COLUMNS, "gain": "gain over base"}
    used = [name for name in columns if any(name in measure for measure in report["measures"])]
    rows = [
        [measure["name"], *(shown(measure[name]) if name in measure else "" for name in used)]
        for measure in report["measures"]
    ]
    table(["measure", *(columns[name] for name in used)], rows)

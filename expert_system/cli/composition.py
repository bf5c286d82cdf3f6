"""`expert-cli test-composition`: what experts do to each other when they run together.

EXPERTS -> own cases alone and in company, joint cases -> served engine -> report, heat map, state.db
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expert_system.cli.connect import Base, Place, Server, connected
from expert_system.cli.screen import Json, note, result, table
from expert_system.cli.validate import MAX_TOKENS, Out, evaluations, installed, subject_of

if TYPE_CHECKING:
    from expert_system.package.stored import StoredExpert
    from expert_system.training.composition import CompositionTest, Measured

CASES = 100
"""Of each expert's own; a set of three asks them some ten times."""
MAX_LOSS = 0.05
"""In points of 0 to 1; a set in which an expert loses more is called harmful."""
HARMFUL = 1
"""The exit code when an expert loses more in a pair or in the whole set."""


def check_composition(
    *,
    experts: Annotated[
        str,
        typer.Option(
            "--experts",
            metavar="A[=WEIGHT],B,…",
            help="Two or more: folders or installed experts, by comma, and what each weighs in company.",
        ),
    ],
    cases: Annotated[int, typer.Option("--cases", min=1, help="Of each expert's own cases, at most.")] = CASES,
    max_loss: Annotated[
        float, typer.Option("--max-loss", min=0.0, max=1.0, help="A larger drop of an expert's own score is harmful.")
    ] = MAX_LOSS,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Of each answer.")] = MAX_TOKENS,
    write: Annotated[
        bool, typer.Option("--write", help="Put each pair into evaluation.json of the expert that is loaded later.")
    ] = False,
    out: Out = None,
    server: Server = None,
    base: Base = None,
    as_json: Json = False,
) -> None:
    """Ask each expert's own cases alone and in company, and the cases that need two of them.

    Exit code 1 when an expert loses more than --max-loss in a pair or in the whole set. What was found is kept in
    state.db, where the router reads which experts not to combine; a new signature is a new package, so name the installed
    experts once more after signing, which asks nothing again. With weights nothing is kept there, since the router's sets
    have each expert's own. Answers are kept as they come: run again to go on.
    """
    report = asyncio.run(
        _tested(
            experts.split(","),
            Place(server=server, base=base),
            cases=cases,
            max_loss=max_loss,
            max_tokens=max_tokens,
            write=write,
            out=out,
        )
    )
    if as_json:
        result(report)
    else:
        _show(report)
    if any(entry["harmful"] for entry in report["sets"]):
        raise typer.Exit(HARMFUL)


async def _tested(
    experts: list[str], place: Place, *, cases: int, max_loss: float, max_tokens: int, write: bool, out: Path | None
) -> dict[str, Any]:
    from expert_system.cli.asking import ask_all
    from expert_system.domain import check_weight, split_weight
    from expert_system.errors import ConfigError
    from expert_system.training.answers import ANSWERS_FILE, AnswerBook
    from expert_system.training.composition import CompositionTest, Member, find_joint, sample
    from expert_system.training.held_out import held_out
    from expert_system.training.interference import composition_report, official_pairs, record_pairs, write_composition

    measured_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    named = [split_weight(expert.strip()) for expert in experts]
    for expert, weight in named:
        if weight is not None:
            check_weight(expert, weight)
    found = [installed(expert) for expert, _ in named]
    own = {stored.manifest.name: folder or stored.path for stored, folder in found}
    packages = {stored.manifest.name: stored for stored, _ in found}
    if write and any(folder is None for _, folder in found):
        raise ConfigError("--write needs every expert as a folder; the store's packages are never changed")
    held = {name: held_out(folder) for name, folder in own.items()}
    room = out or evaluations() / ("composition-" + "+".join(sorted(name.removeprefix("expert-") for name in own)))
    # Answers that `validate` kept are the same questions.
    before = [evaluations() / f"{name}-{stored.manifest.version}" / ANSWERS_FILE for name, stored in packages.items()]
    unverified = not all(stored.verified for stored in packages.values())
    async with connected(Place(server=place.server, base=place.base, dev=unverified)) as client:
        served = await client.experts()
        members = [
            Member(
                subject=subject_of(packages[stored.manifest.name], served),
                load_order=stored.manifest.composition.load_order,
                cases=sample(held[stored.manifest.name].cases, cases),
                sha256=held[stored.manifest.name].sha256,
                weight=weight,
            )
            for (stored, _), (_, weight) in zip(found, named, strict=True)
        ]
        test = CompositionTest(members, find_joint(own), max_tokens=max_tokens)
        with AnswerBook(room, also=before) as book:
            for whom, questions in test.questions().items():
                await ask_all(client, questions, book, whom=whom)
            measured = await asyncio.to_thread(test.judge, book)
    report = composition_report(test, measured, max_loss=max_loss, measured_at=measured_at)
    write_composition(report, room)
    if not test.weights:
        _remember(packages, test, measured, max_loss=max_loss, measured_at=measured_at)
    if write:
        for name, entries in official_pairs(test, measured, max_loss=max_loss, measured_at=measured_at).items():
            record_pairs(own[name], entries)
            note(f"{len(entries)} pairs are in evaluation.json of {own[name]}; sign it again")
    note(f"the report is {room / 'report.md'}")
    return report


def _remember(
    packages: dict[str, StoredExpert], test: CompositionTest, measured: Measured, *, max_loss: float, measured_at: str
) -> None:
    """Put every set into state.db, for the router of this node."""
    from expert_system.cli.store import open_store
    from expert_system.domain import Digest
    from expert_system.marketplace.state import Composition

    base = Digest(next(iter(test.members.values())).subject.base_digest)
    with open_store() as store:
        for together in measured.sets:
            loss = measured.worst_loss(together)
            store.note_composition(
                Composition(
                    experts=frozenset(packages[name].digest for name in together),
                    base=base,
                    worst_loss=loss,
                    harmful=loss > max_loss,
                    measured_at=measured_at,
                )
            )


def _show(report: dict[str, Any]) -> None:
    from expert_system.training.interference import matrix
    from expert_system.training.report import shown

    rows, columns, changes = matrix(report)
    points = [["" if change is None else f"{100 * change:+.1f}" for change in line] for line in changes]
    note("change of each expert's own cases in company, in points:")
    table(["cases of", *columns], [[row, *line] for row, line in zip(rows, points, strict=True)])
    for entry in report["joint_cases"]:
        alone = ", ".join(f"{name} {shown(found)}" for name, found in entry["alone"].items())
        note(f"{entry['cases']} joint cases: {alone}; both {shown(entry['together'])}")
    for entry in report["sets"]:
        verdict = "harmful" if entry["harmful"] else "fine"
        note(f"{' + '.join(entry['experts'])}: {verdict}, worst loss {entry['worst_loss']:.3f}")
    if report["refused_requests"]:
        note(f"{report['refused_requests']} requests were refused by the server and count as wrong")

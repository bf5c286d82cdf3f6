"""`expert-cli validate`: an expert's figures, measured through the served engine.

EXPERT FOLDER -> cases -> served engine -> evaluation.json and manifest.json
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expert_system.cli.connect import Place, Server, connected
from expert_system.cli.screen import Json, note, result, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from expert_system.client import AsyncClient
    from expert_system.training.data.row import Messages

CONCURRENT = 16
"""Cases in flight at once."""
MAX_ANSWER_TOKENS = 200


def validate(
    *,
    expert: Annotated[Path, typer.Option("--expert", metavar="PATH", help="The expert's folder.")],
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Measure an expert on its held-out cases through the served engine, beside the base and the base with examples.

    The folder is installed with --dev, so the server must run with --dev. evaluation.json and manifest.json are written.
    """
    asyncio.run(_validate(expert, server, as_json=as_json))


async def _validate(folder: Path, server: str | None, *, as_json: bool) -> None:
    from expert_system.cli.store import open_store
    from expert_system.training.validate import evaluate, record

    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with open_store() as store:
        installed = store.install_dev(folder)
    async with connected(Place(server=server, dev=True)) as client:
        served = await client.experts()
        loop = asyncio.get_running_loop()

        def ask(conversations: Sequence[Messages], who: str | None) -> Sequence[str]:
            note(f"asking {len(conversations)} questions of {who or 'the base alone'}")
            answers = _answers(client, conversations, who, installed.digest)
            return asyncio.run_coroutine_threadsafe(answers, loop).result()

        evaluation, report = await asyncio.to_thread(evaluate, folder, ask, base_name=served.base, evaluated_at=started)
    record(folder, evaluation, report)
    if as_json:
        result(report)
        return
    rows = [
        [measure.name, *(_shown(getattr(measure, who)) for who in ("base", "few_shot", "expert", "gain"))]
        for measure in evaluation.measures
    ]
    table(["measure", "base", "base, 3 examples", "expert", "gain over base"], rows)


async def _answers(client: AsyncClient, conversations: Sequence[Messages], who: str | None, digest: str) -> list[str]:
    """Ask every question, a bounded number at once.

    Raises:
        ConfigError: the server answered with another package than the one in the folder.
    """
    from expert_system.errors import ConfigError

    slots = asyncio.Semaphore(CONCURRENT)

    async def one(messages: Messages) -> str:
        async with slots:
            answer = await client.complete(
                messages=messages, experts=[who] if who else [], temperature=0.0, max_tokens=MAX_ANSWER_TOKENS
            )
        if who and [member.digest for member in answer.plan.experts] != [digest]:
            raise ConfigError(f"the server's {who} is not the one in the folder; restart it and try again")
        return answer.text

    return list(await asyncio.gather(*(one(messages) for messages in conversations)))


def _shown(value: Any) -> str:
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"

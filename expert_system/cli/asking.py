"""Ask a server the questions of an evaluation, a bounded number at once, and keep every answer as it comes.

    questions without an answer -> at most CONCURRENT in flight -> answer book

Promise: a busy server is waited for, a request that the server refuses for what it is becomes a refused reply, and any
other failure ends the command with what was answered kept on disk; no question is left out silently.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from expert_system.cli.screen import note
from expert_system.errors import ConfigError, ExpertSystemError

if TYPE_CHECKING:
    from expert_system.client import AsyncClient
    from expert_system.training.answers import AnswerBook, Question, Reply

CONCURRENT = 16
"""Questions in flight at once."""
MAX_TRIES = 20
"""How often a question is sent to a server that says it is full or restarting."""
TIMEOUT_S = 600.0
"""Of one answer; a server that is this slow is stuck."""
TOLD_EVERY = 50


async def ask_all(client: AsyncClient, questions: Sequence[Question], book: AnswerBook, *, whom: str) -> None:
    """Put every question that the book has no answer to.

    Args:
        client: of the server.
        questions: may hold the same question twice; it is asked once.
        book: where the answers go.
        whom: who answers, for people.

    Raises:
        ConfigError: the server answered with another package than the one that is measured.
        RequestFailed: the server failed; what was answered is in the book.
    """
    missing = list({question.key: question for question in questions if book.get(question) is None}.values())
    kept = len({question.key for question in questions}) - len(missing)
    note(f"asking {whom} {len(missing)} questions" + (f", {kept} were answered before" if kept else ""))
    slots = asyncio.Semaphore(CONCURRENT)
    done = 0

    async def one(question: Question) -> None:
        nonlocal done
        async with slots:
            book.add(question, await _reply(client, question))
        done += 1
        if done % TOLD_EVERY == 0:
            note(f"{done} of {len(missing)} answered")

    try:
        async with asyncio.TaskGroup() as group:
            for question in missing:
                group.create_task(one(question))
    except ExceptionGroup as failures:
        note(f"{done} of {len(missing)} answered, which are kept in {book.path}; run again to go on")
        raise _first(failures) from None


async def _reply(client: AsyncClient, question: Question) -> Reply:
    """One answer; waits as long as a server without room asks for."""
    from expert_system.training.answers import Reply

    for attempt in range(1, MAX_TRIES + 1):
        try:
            answer = await client.complete(
                messages=question.messages,
                experts=[asked.reference for asked in question.experts],
                route=False,  # the base alone is a contender
                timeout_s=TIMEOUT_S,
                **question.sampling,
            )
        except ExpertSystemError as error:
            wait_s = getattr(error, "retry_after_s", None)
            code = getattr(getattr(error, "code", None), "name", "")
            if code == "INVALID_ARGUMENT":
                return Reply(text="", finish_reason="refused", completion_tokens=0, refused=str(error))
            if wait_s is None or attempt == MAX_TRIES:
                raise
            await asyncio.sleep(wait_s)
            continue
        _check_package(question, [member.digest for member in answer.plan.experts])
        return Reply(
            text=answer.text,
            finish_reason=answer.done.finish_reason.value,
            completion_tokens=answer.done.usage.completion_tokens,
        )
    raise AssertionError("the last attempt returns or raises")


def _check_package(question: Question, digests: Sequence[str]) -> None:
    if sorted(digests) != sorted(asked.digest for asked in question.experts):
        names = " + ".join(asked.reference for asked in question.experts)
        raise ConfigError(f"the server's {names} is not what is measured; restart the server and run again")


def _first(failures: ExceptionGroup[Exception]) -> Exception:
    found = failures.exceptions[0]
    return _first(found) if isinstance(found, ExceptionGroup) else found

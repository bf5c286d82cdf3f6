"""A child process with one engine in it: jobs come in as JSON lines, measurements go out.

    stdin -> {"job": "run" | "load" | "unload" | "pin" | "forget_pages" | "last_attach"} -> engine -> stdout

vLLM prints to standard output; it goes to the log, and only this program's answers stay on the pipe.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from benchmarks.common.flavours import Engine, make
from benchmarks.common.jobs import Setup, setup_of


class Runner:
    """Answers jobs."""

    def __init__(self, engine: Engine) -> None:
        """Run jobs on this engine."""
        self._engine = engine

    async def answer(self, job: dict[str, Any]) -> Any:
        """Do one job."""
        match job.pop("job"):
            case "run":
                return await self._run(**job)
            case "load":
                return await self._engine.load(_members(job["members"]))
            case "unload":
                return await self._engine.unload(_members(job["members"]))
            case "pin":
                return await self._engine.pin(_members(job["members"]))
            case "last_attach":
                return await self._engine.last_attach_s()
            case "forget_pages":
                return _forget_pages(Path(job["folder"]))
        raise ValueError(f"unknown job: {job}")

    async def _run(self, requests: list[dict[str, Any]], actions: list[dict[str, Any]]) -> dict[str, Any]:
        started = time.perf_counter()

        async def one(request: dict[str, Any]) -> dict[str, Any]:
            await _until(started + request["at_s"])
            times: list[float] = []
            stream = self._engine.stream(request["ids"], _members(request["members"]), request["tokens"])
            async for tokens in stream:
                times += [time.perf_counter() - started] * tokens
            return {"at_s": request["at_s"], "times_s": times}

        async def act() -> list[dict[str, float]]:
            done = []
            for action in actions:
                await _until(started + action["at_s"])
                began = time.perf_counter() - started
                if action["unload"]:
                    await self._engine.unload(_members(action["unload"]))
                await self._engine.load(_members(action["load"]))
                done.append({"began_s": began, "ended_s": time.perf_counter() - started})
            return done

        acting = asyncio.create_task(act())
        streams = await asyncio.gather(*(one(request) for request in requests))
        return {"streams": streams, "actions": await acting}


def _members(pairs: list[list[Any]]) -> tuple[tuple[str, float], ...]:
    return tuple((name, weight) for name, weight in pairs)


async def _until(moment: float) -> None:
    delay = moment - time.perf_counter()
    if delay > 0:
        await asyncio.sleep(delay)


def _forget_pages(folder: Path) -> None:
    """Make the system read this folder's files from the disk the next time."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


async def serve(setup: Setup, places: dict[str, str], pipe: TextIO) -> None:
    """Start the engine, say so, and answer jobs until the input ends."""
    engine = make(setup, base=Path(places["base"]), home=Path(places["home"]), adapters=Path(places["adapters"]))
    started = time.perf_counter()
    await engine.start()
    print(json.dumps({"started_s": time.perf_counter() - started}), file=pipe, flush=True)
    runner = Runner(engine)
    try:
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await runner.answer(json.loads(line))), file=pipe, flush=True)
    finally:
        await engine.stop()


def main() -> None:
    """Take setup and places from the command line."""
    pipe = os.fdopen(os.dup(1), "w")
    log = os.open(sys.argv[3], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    asyncio.run(serve(setup_of(json.loads(sys.argv[1])), json.loads(sys.argv[2]), pipe))


if __name__ == "__main__":
    main()

"""What a user would pick instead, behind the same interface: PEFT's generate, and llama.cpp's server.

PEFT       requests of one moment -> one batch with adapter_names -> all answers at once
llama.cpp  requests -> llama-server, `lora` scales in each -> streams; it batches only equal scales together
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from benchmarks.common.jobs import Members

START_TIMEOUT_S = 120.0
MOST_ATTEMPTS = 8
"""Of a request whose answer begins with what is no text."""


class NoAttaching:
    """An engine whose attaching is not measured."""

    async def load(self, members: Members) -> dict[str, float]:
        """Refuse."""
        raise NotImplementedError("attaching is measured on the Expert System only")

    async def unload(self, members: Members) -> None:
        """Refuse."""
        raise NotImplementedError("attaching is measured on the Expert System only")

    async def pin(self, members: Members) -> None:
        """Refuse."""
        raise NotImplementedError("attaching is measured on the Expert System only")

    async def last_attach_s(self) -> float:
        """Refuse."""
        raise NotImplementedError("attaching is measured on the Expert System only")


@dataclass(frozen=True, slots=True)
class _Waiting:
    ids: list[int]
    adapter: str
    tokens: int
    done: asyncio.Future[None]


class PeftEngine(NoAttaching):
    """Transformers with PEFT's adapters, each row of a batch with its own."""

    def __init__(self, base: Path, adapters: Path, names: Sequence[str]) -> None:
        """Load these adapters of the folder at the start."""
        self._base = base
        self._adapters = adapters
        self._names = names
        self._model: Any = None
        self._waiting: list[_Waiting] = []

    async def start(self) -> None:
        """Load the model."""
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(len(os.sched_getaffinity(0)))
        model = AutoModelForCausalLM.from_pretrained(self._base, dtype=torch.bfloat16).eval()
        first, *others = self._names
        self._model = PeftModel.from_pretrained(
            model, self._adapters / first, adapter_name=first, autocast_adapter_dtype=False
        )
        for name in others:
            self._model.load_adapter(self._adapters / name, name, autocast_adapter_dtype=False)
        self._model.to(torch.bfloat16).eval()

    async def stop(self) -> None:
        """Nothing to free."""

    async def stream(self, ids: list[int], members: Members, tokens: int) -> AsyncIterator[int]:
        """Run with whatever else arrives in the same moment; all tokens come at the end."""
        adapter = "__base__" if not members else members[0][0]
        if len(members) > 1:
            raise ValueError("PEFT runs one adapter for each row")
        waiting = _Waiting(ids, adapter, tokens, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            await asyncio.sleep(0.001)  # the others of this moment
            batch, self._waiting = self._waiting, []
            await asyncio.to_thread(self._generate, batch)
            for one in batch:
                one.done.set_result(None)
        await waiting.done
        yield tokens

    def _generate(self, batch: Sequence[_Waiting]) -> None:
        import torch

        ids = torch.tensor([one.ids for one in batch])
        tokens = batch[0].tokens
        with torch.inference_mode():
            self._model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                adapter_names=[one.adapter for one in batch],
                do_sample=False,
                min_new_tokens=tokens,
                max_new_tokens=tokens,
                pad_token_id=0,
            )


class LlamaEngine(NoAttaching):
    """llama.cpp's server on the same base and adapters, converted to GGUF."""

    def __init__(self, server: Path, folder: Path, names: Sequence[str], sequences: int) -> None:
        """Use `<name>.gguf` and `base.gguf` below the folder."""
        self._server = server
        self._folder = folder
        self._names = list(names)
        self._sequences = sequences
        self._url = ""
        self._child: asyncio.subprocess.Process | None = None
        self._session: Any = None

    async def start(self) -> None:
        """Start the server and wait until it is healthy."""
        import aiohttp

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        threads = str(len(os.sched_getaffinity(0)))
        self._url = f"http://127.0.0.1:{port}"
        self._child = await asyncio.create_subprocess_exec(
            str(self._server),
            *("-m", str(self._folder / "base.gguf")),
            *("--lora", ",".join(str(self._folder / f"{name}.gguf") for name in self._names)),
            "--lora-init-without-apply",
            *("--host", "127.0.0.1", "--port", str(port)),
            *("-np", str(self._sequences), "-c", str(self._sequences * 256)),
            *("-t", threads, "-tb", threads),
            stdout=2,
        )
        # A connection of its own for each request: the server is stopped now and then, and closes idle ones when it goes on.
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None), connector=aiohttp.TCPConnector(force_close=True)
        )
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await self._healthy():  # noqa: ASYNC110 - another program; it sends no event
                await asyncio.sleep(0.2)

    async def _healthy(self) -> bool:
        import aiohttp

        try:
            async with self._session.get(f"{self._url}/health") as answer:
                return bool(answer.status == 200)
        except aiohttp.ClientConnectionError:
            return False

    async def stop(self) -> None:
        """Stop the server."""
        await self._session.close()
        if self._child is not None:
            self._child.terminate()
            await self._child.wait()

    async def stream(self, ids: list[int], members: Members, tokens: int) -> AsyncIterator[int]:
        """Run one request with its scales.

        An answer that begins with bytes that are no text ends at once with an error; then another random prompt of the
        same length is asked, and the time of both counts.
        """
        for attempt in range(MOST_ATTEMPTS):
            produced = 0
            async for count in self._answer([token - attempt for token in ids], members, tokens):
                yield count
                produced += count
            if produced == tokens:
                return
            if produced:
                break
        raise RuntimeError(f"llama.cpp's server answered {produced} of {tokens} tokens; its reason is in its output")

    async def _answer(self, ids: list[int], members: Members, tokens: int) -> AsyncIterator[int]:
        # An empty list would mean every adapter that was loaded, each at full scale.
        scales = members or ((self._names[0], 0.0),)
        body = {
            "prompt": ids,
            "n_predict": tokens,
            "temperature": 0.0,
            "ignore_eos": True,
            "cache_prompt": False,
            "stream": True,
            "return_tokens": True,
            "lora": [{"id": self._names.index(name), "scale": weight} for name, weight in scales],
        }
        produced = 0
        async with self._session.post(f"{self._url}/completion", json=body) as answer:
            if answer.status == HTTPStatus.INTERNAL_SERVER_ERROR:
                return
            answer.raise_for_status()
            async for line in answer.content:
                if not line.startswith(b"data: "):
                    continue
                event = json.loads(line[len(b"data: ") :])
                # Bytes that are no whole character yet are held back, to the end; and an answer that is no text as a whole,
                # as random weights give, ends with an error after its last token instead of with their number.
                ended = event.get("stop") or (produced and "error" in event)
                seen = tokens if ended else produced + len(event.get("tokens", ()))
                if seen > produced:
                    yield seen - produced
                    produced = seen

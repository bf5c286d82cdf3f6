"""The real engine: vLLM's AsyncLLM with the expert plugin, started, watched and restarted by us.

    EngineRequest -> (set file, host files) -> AsyncLLM -> Delta, …, Finished

Promise: requests with different sets and with none share one continuous batch; leaving a stream takes its request
out of the engine; an engine that dies is said to be unavailable and is started again, never left as a zombie.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from expert_system.domain import Delta, Digest, EngineState, ExpertSet, Message
from expert_system.engine import outputs, prompts, starting
from expert_system.engine.interface import Attached, EngineRequest, Finished, Residency, ServedBase
from expert_system.engine.residence import Residence
from expert_system.engine.settings import VllmSettings
from expert_system.errors import EngineUnavailable, ExpertSystemError, InvalidRequest

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

    from expert_system.engine.plugin.hostfiles import StoreAccess

WATCH_INTERVAL_S = 0.5
"""How often a quiet engine is asked whether it lives; a busy one says so by itself."""
RESTART_DELAYS_S = (0.0, 2.0, 10.0, 30.0)
"""Waits before successive attempts to start a dead engine; the last one repeats."""


class VllmEngine:
    """One vLLM engine in child processes; implements `engine.interface.Engine`."""

    def __init__(self, settings: VllmSettings, store: StoreAccess) -> None:
        """Remember what to start; nothing runs yet.

        Args:
            settings: what to start vLLM with.
            store: where experts are found; used in threads.
        """
        self._settings = settings
        self._state = EngineState.STOPPED
        self._llm: AsyncLLM | None = None
        self._base: ServedBase | None = None
        self._residence = Residence(settings, store)
        self._watcher: asyncio.Task[None] | None = None

    @property
    def state(self) -> EngineState:
        """Where in its life the engine is."""
        if self._state is EngineState.READY and (self._llm is None or self._llm.errored):
            return EngineState.RESTARTING
        return self._state

    @property
    def base(self) -> ServedBase:
        """The base that is served."""
        if self._base is None:
            raise EngineUnavailable("the engine has not started yet; wait for it to be ready")
        return self._base

    async def start(self) -> None:
        """Start vLLM, check that the plugin is in every worker, and watch it from then on."""
        self._state = EngineState.STARTING
        try:
            await self._launch()
        except BaseException:
            self._state = EngineState.STOPPED
            raise
        self._state = EngineState.READY
        self._watcher = asyncio.create_task(self._watch(), name="engine watcher")

    async def _launch(self) -> None:
        self._llm = await starting.launch(self._settings)
        try:
            await starting.handshake(self._llm)
        except BaseException:
            await asyncio.to_thread(self._llm.shutdown)
            self._llm = None
            raise
        self._base = starting.served_base(self._settings, self._llm)
        self._residence.restarted(self._llm)

    async def _watch(self) -> None:
        """Start the engine again whenever it has died."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            if self._llm is not None and not self._llm.errored:
                continue
            self._state = EngineState.RESTARTING
            attempt = 0
            while self._state is EngineState.RESTARTING:
                await asyncio.sleep(RESTART_DELAYS_S[min(attempt, len(RESTART_DELAYS_S) - 1)])
                attempt += 1
                await self._shut_down()
                with contextlib.suppress(Exception):  # the next attempt follows; vLLM's log has the reason
                    await self._launch()
                    self._state = EngineState.READY

    async def stop(self) -> None:
        """Abort what runs and free everything."""
        self._state = EngineState.STOPPED
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None
        await self._shut_down()

    async def _shut_down(self) -> None:
        if self._llm is not None:
            llm, self._llm = self._llm, None
            await asyncio.to_thread(llm.shutdown)

    def _running(self) -> AsyncLLM:
        if self.state is not EngineState.READY or self._llm is None:
            raise EngineUnavailable(f"the engine is {self.state}; try again shortly")
        return self._llm

    async def render(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Token ids of a chat under the base's template."""
        tokenizer: Any = self._running().get_tokenizer()
        turns = [{"role": message.role.value, "content": message.content} for message in messages]
        ids = await asyncio.to_thread(
            tokenizer.apply_chat_template, turns, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        return tuple(ids)

    async def tokenize(self, prompt: str) -> tuple[int, ...]:
        """Token ids of a raw prompt."""
        tokenizer: Any = self._running().get_tokenizer()
        return tuple(await asyncio.to_thread(tokenizer.encode, prompt))

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Delta | Finished, None]:
        """Run one request."""
        llm = self._running()
        attach_s = 0.0
        ready = None
        try:
            if request.expert_set is not None:
                self._residence.begin(request.expert_set)
                started = time.perf_counter()
                ready = await self._residence.ensure(request.expert_set)
                self._residence.admit(request.expert_set)
                attach_s = time.perf_counter() - started
            virtual = ready.soft_prompt if ready else None
            produced = llm.generate(
                prompts.engine_prompt(request.token_ids, virtual),
                outputs.sampling_params(request.sampling),
                request.request_id,
                lora_request=ready.request if ready else None,
                priority=request.priority,
                trace_headers=request.trace_headers or None,
            )
            async with aclosing(produced) as stream:
                async for output in stream:
                    for event in outputs.events(output, attach_s, 0 if virtual is None else len(virtual)):
                        yield event
        except ExpertSystemError:
            raise
        except Exception as error:
            raise self._translated(error, constrained=request.sampling.grammar is not None) from error
        finally:
            if request.expert_set is not None:
                self._residence.end(request.expert_set)

    def _translated(self, error: Exception, *, constrained: bool) -> Exception:
        """One of our errors for one of vLLM's; a bug of ours stays itself."""
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        if isinstance(error.__cause__, ExpertSystemError):
            return error.__cause__
        if isinstance(error, EngineDeadError) or self._llm is None or self._llm.errored:
            return EngineUnavailable("the engine died under this request and is being started again")
        if isinstance(error, VLLMClientError):
            field = getattr(error, "parameter", None) or ("structured_outputs" if constrained else "sampling_params")
            return InvalidRequest(field, str(error))
        if isinstance(error, EngineGenerateError):
            return EngineUnavailable(f"the engine could not run this request: {error}")
        return error

    async def load(self, expert_set: ExpertSet) -> Attached:
        """Bring a set into memory and, when a slot is idle, into a slot."""
        llm = self._running()
        started = time.perf_counter()
        self._residence.begin(expert_set)
        try:
            ready = await self._residence.ensure(expert_set)
            self._residence.admit(expert_set)
            loaded = time.perf_counter()
            await llm.add_lora(ready.request)
        finally:
            self._residence.end(expert_set)
        return Attached(load_s=loaded - started, attach_s=time.perf_counter() - loaded)

    async def unload(self, set_digest: Digest) -> None:
        """Free a set's slot and memory."""
        self._running()
        await self._residence.unload(set_digest)

    async def pin(self, expert_set: ExpertSet, *, pinned: bool) -> None:
        """Keep a set in host memory, or let go of it again."""
        if pinned:
            await self.load(expert_set)
        await self._residence.pin(expert_set, pinned=pinned)

    async def residencies(self) -> tuple[Residency, ...]:
        """Every set that the engine holds, most recently used last."""
        self._running()
        return await self._residence.list()

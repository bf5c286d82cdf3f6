"""The engines that are compared, behind one small interface.

The unmodified engine gets the same thread binding, steps, sequences and cache as ours; only what experts need is left out.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

from benchmarks.common.experts import MODULES
from benchmarks.common.jobs import Flavour, Members, Setup
from benchmarks.common.other_engines import LlamaEngine, NoAttaching, PeftEngine

_PACKED = ("qkv_proj", "gate_up_proj")
"""How vLLM calls some of `MODULES` once it has joined them."""


class Engine(Protocol):
    """What the runner needs."""

    async def start(self) -> None:
        """Return when requests can run."""

    async def stop(self) -> None:
        """Free everything."""

    def stream(self, ids: list[int], members: Members, tokens: int) -> AsyncIterator[int]:
        """Run one greedy request; yields how many tokens have just come."""

    async def load(self, members: Members) -> dict[str, float]:
        """Bring a set into memory and a slot; returns seconds by stage."""

    async def unload(self, members: Members) -> None:
        """Let go of a set."""

    async def pin(self, members: Members) -> None:
        """Keep a set in memory."""

    async def last_attach_s(self) -> float:
        """How long the worker took for the last set that a step needed in a slot."""


def make(setup: Setup, *, base: Path, home: Path, adapters: Path) -> Engine:
    """The engine of a flavour, not started."""
    match setup.flavour:
        case Flavour.EXPERTS:
            return ExpertEngine(setup, base, home)
        case Flavour.PEFT:
            return PeftEngine(base, adapters, setup.adapters)
        case Flavour.LLAMA:
            return LlamaEngine(Path(setup.llama_server), Path(setup.gguf), setup.adapters, setup.max_sequences)
        case _:
            return VanillaEngine(setup, base, adapters)


class VanillaEngine(NoAttaching):
    """vLLM as it is; the parent has set VLLM_PLUGINS to nothing."""

    def __init__(self, setup: Setup, base: Path, adapters: Path) -> None:
        """Use PEFT folders below `adapters`."""
        self._setup = setup
        self._base = base
        self._adapters = adapters
        self._ids: dict[str, int] = {}
        self._requests = itertools.count()
        self._llm: Any = None

    async def start(self) -> None:
        """Start vLLM."""
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        setup = self._setup
        arguments: dict[str, Any] = {
            "model": str(self._base),
            "dtype": setup.dtype,
            "max_num_seqs": setup.max_sequences,
            "max_num_batched_tokens": setup.step_tokens,
            "max_model_len": setup.context_tokens,
            "kv_cache_memory_bytes": setup.kv_cache_bytes,
            "enforce_eager": not setup.compiled,
            "seed": 0,
        }
        if setup.flavour is Flavour.STOCK:
            arguments |= {
                "enable_lora": True,
                "max_loras": setup.slots,
                "max_cpu_loras": setup.slots,
                "max_lora_rank": setup.max_rank,
                "lora_target_modules": [*MODULES, *_PACKED],
            }
        self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))

    async def stop(self) -> None:
        """Stop vLLM."""
        self._llm.shutdown()

    async def stream(self, ids: list[int], members: Members, tokens: int) -> AsyncIterator[int]:
        """Run one request with at most one adapter."""
        from vllm import SamplingParams
        from vllm.inputs import TokensPrompt
        from vllm.sampling_params import RequestOutputKind

        sampling = SamplingParams(
            temperature=0.0, max_tokens=tokens, ignore_eos=True, output_kind=RequestOutputKind.DELTA
        )
        produced = self._llm.generate(
            TokensPrompt(prompt_token_ids=ids),
            sampling,
            f"bench-{next(self._requests)}",
            lora_request=self._lora(members),
        )
        async for output in produced:
            yield len(output.outputs[0].token_ids)

    def _lora(self, members: Members) -> Any:
        from vllm.lora.request import LoRARequest

        if not members:
            return None
        ((name, weight),) = members
        if weight != 1.0:
            raise ValueError("vLLM has no weights for adapters")
        number = self._ids.setdefault(name, len(self._ids) + 1)
        return LoRARequest(name, number, str(self._adapters / name))


class ExpertEngine:
    """The Expert System's engine, through the interface that its server uses."""

    def __init__(self, setup: Setup, base: Path, home: Path) -> None:
        """Use the store below `home`."""
        from expert_system.engine.settings import VllmSettings
        from expert_system.engine.vllm_engine import VllmEngine
        from expert_system.marketplace.store import Store

        self._store = Store(home, dev=True)
        settings = VllmSettings(
            home=home,
            base=base,
            base_name=base.name,
            dtype=setup.dtype,
            slots=setup.slots,
            max_rank=setup.max_rank,
            max_sequences=setup.max_sequences,
            step_tokens=setup.step_tokens,
            context_tokens=setup.context_tokens,
            kv_cache_bytes=setup.kv_cache_bytes,
            extra={"distributed_executor_backend": "mp"} if setup.own_worker else {},
        )
        self._engine = VllmEngine(settings, self._store)
        self._sets: dict[Members, Any] = {}
        self._requests = itertools.count()

    async def start(self) -> None:
        """Start the engine."""
        await self._engine.start()

    async def stop(self) -> None:
        """Stop the engine."""
        await self._engine.stop()
        self._store.close()

    async def stream(self, ids: list[int], members: Members, tokens: int) -> AsyncIterator[int]:
        """Run one request with a set."""
        from expert_system.domain import Delta, Sampling
        from expert_system.engine.interface import EngineRequest

        request = EngineRequest(
            request_id=f"bench-{next(self._requests)}",
            token_ids=tuple(ids),
            expert_set=self._set(members) if members else None,
            sampling=Sampling(temperature=0.0, max_tokens=tokens, ignore_eos=True),
        )
        async for event in self._engine.generate(request):
            if isinstance(event, Delta):
                yield len(event.token_ids)

    def _set(self, members: Members) -> Any:
        from expert_system.engine.sets import compose

        if members not in self._sets:
            pairs = [(self._store.find(name), weight) for name, weight in members]
            self._sets[members] = compose(pairs, base=self._engine.base).expert_set
        return self._sets[members]

    async def load(self, members: Members) -> dict[str, float]:
        """Load a set."""
        attached = await self._engine.load(self._set(members))
        return {"load_s": attached.load_s, "attach_s": attached.attach_s}

    async def unload(self, members: Members) -> None:
        """Unload a set; its experts leave host memory unless something else holds them."""
        await self._engine.unload(self._set(members).digest)

    async def pin(self, members: Members) -> None:
        """Pin a set."""
        await self._engine.pin(self._set(members), pinned=True)

    async def last_attach_s(self) -> float:
        """Ask the worker."""
        [report] = await self._engine._llm.collective_rpc("expert_report")  # type: ignore[union-attr]
        seconds: float = report["residency"]["last_attach_s"]
        return seconds

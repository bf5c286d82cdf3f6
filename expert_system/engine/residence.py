"""Which sets this server has shown its engine, under which ids, and who uses them now.

    ExpertSet -> set file + host files + id -> LoRARequest

Ids are a counter below 2^31 that is never reused while the server runs, across restarts of the engine too
(vllm.md, Decided 2).
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from expert_system import telemetry
from expert_system.domain import Digest, ExpertSet
from expert_system.engine.interface import Residency
from expert_system.engine.sets import SetFiles
from expert_system.engine.settings import VllmSettings
from expert_system.errors import IncompatibleSet, Overloaded

if TYPE_CHECKING:
    import torch
    from vllm.lora.request import LoRARequest
    from vllm.v1.engine.async_llm import AsyncLLM

    from expert_system.engine.plugin.hostfiles import StoreAccess

RETRY_AFTER_S = 1.0
"""When a caller may ask again after the budget was full."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A set whose host files are there."""

    request: LoRARequest
    soft_prompt: torch.Tensor | None
    """The members' virtual tokens in load order, shape (tokens, hidden)."""


class Residence:
    """Sets by digest: their ids, their users, their pins."""

    def __init__(self, settings: VllmSettings, store: StoreAccess) -> None:
        """Start with nothing; `store` is where experts are found."""
        self._store = store
        self._files = SetFiles(settings.home)
        self._budget_bytes = settings.host_budget_bytes
        self._sizes: dict[Digest, int] = {}
        self._ids = itertools.count(1)
        self._id_of: dict[Digest, int] = {}
        self._sets: dict[Digest, ExpertSet] = {}
        self._uses: Counter[Digest] = Counter()
        self._pinned: set[Digest] = set()
        self._llm: AsyncLLM | None = None
        self._building: dict[Digest, asyncio.Task[Ready]] = {}
        self._ready: dict[Digest, Ready] = {}

    def restarted(self, llm: AsyncLLM) -> None:
        """A fresh engine: it holds nothing yet."""
        self._llm = llm
        self._ready.clear()
        self._sets.clear()
        self._pinned.clear()

    @property
    def _engine(self) -> Any:
        assert self._llm is not None, "the engine was started before anything was asked of it"
        return self._llm

    def begin(self, expert_set: ExpertSet) -> None:
        """A request with this set is on its way; every call is answered by one of `end`."""
        self._uses[expert_set.digest] += 1

    def end(self, expert_set: ExpertSet) -> None:
        """That request is over."""
        self._uses[expert_set.digest] -= 1
        telemetry.IN_USE_BYTES.set(self._in_use_bytes())

    def admit(self, expert_set: ExpertSet) -> None:
        """Refuse a set whose weights do not fit beside those that are held.

        Raises:
            Overloaded: with the figures; waiting helps unless the set alone is too large.
        """
        alone = sum(self._sizes[member.expert] for member in expert_set.members)
        needed = self._in_use_bytes()
        telemetry.IN_USE_BYTES.set(needed)
        if needed > self._budget_bytes:
            raise Overloaded(
                f"the experts of running and pinned sets need {_mb(needed)} with this set's {_mb(alone)}, and"
                f" host_budget_bytes allows {_mb(self._budget_bytes)}",
                retry_after_s=None if alone > self._budget_bytes else RETRY_AFTER_S,
            )

    def _in_use_bytes(self) -> int:
        """Host memory of the distinct experts of sets that are used or pinned."""
        held = [found for digest, found in self._sets.items() if self._uses[digest] > 0 or digest in self._pinned]
        experts = {member.expert for expert_set in held for member in expert_set.members}
        return sum(self._sizes[expert] for expert in experts)

    async def ensure(self, expert_set: ExpertSet) -> Ready:
        """Write the set's file and its members' host files, off the event loop; concurrent calls share the work.

        Raises:
            AdapterRefused, IntegrityError: a member cannot be served.
        """
        digest = expert_set.digest
        started = time.perf_counter()
        source = "hot" if digest in self._ready else "cold"
        task = self._building.get(digest)
        if task is None:
            task = asyncio.create_task(asyncio.to_thread(self._build, expert_set))
            self._building[digest] = task
            task.add_done_callback(lambda _: self._building.pop(digest, None))
        ready = await asyncio.shield(task)
        self._sets.pop(digest, None)
        self._sets[digest] = expert_set
        telemetry.ATTACH_SECONDS.labels(source).observe(time.perf_counter() - started)
        telemetry.RESIDENT_SETS.set(len(self._sets))
        return ready

    def _build(self, expert_set: ExpertSet) -> Ready:
        from expert_system.engine.plugin.hostfiles import HostFiles
        from expert_system.engine.plugin.softprompt import join

        self._files.write(expert_set)
        request = self._request(expert_set.digest)
        files = HostFiles.of_engine(self._engine.vllm_config, self._store)
        paths = [files.ensure(member) for member in files.members(request)]
        for member, path in zip(expert_set.members, paths, strict=True):
            self._sizes[member.expert] = path.stat().st_size
        ready = self._ready.get(expert_set.digest)
        if ready is None:
            ready = self._ready[expert_set.digest] = Ready(request, join(paths))
        return ready

    def _request(self, digest: Digest) -> LoRARequest:
        from vllm.lora.request import LoRARequest

        if digest not in self._id_of:
            self._id_of[digest] = next(self._ids)
        return LoRARequest(digest, self._id_of[digest], str(self._files.path(digest)))

    async def unload(self, digest: Digest) -> None:
        """Free slot and memory of a set; one that is not loaded is no error."""
        if self._uses[digest] > 0:
            raise IncompatibleSet(f"{self._uses[digest]} running requests use it; unload it when they have finished")
        if digest not in self._sets:
            return
        request = self._request(digest)
        if digest in self._pinned:
            await self.pin(self._sets[digest], pinned=False)
        await self._engine.remove_lora(request.lora_int_id)
        await self._engine.engine_core.call_utility_async("expert_drop", request.lora_name, request.lora_path)
        self._sets.pop(digest, None)
        self._ready.pop(digest, None)
        telemetry.RESIDENT_SETS.set(len(self._sets))

    async def pin(self, expert_set: ExpertSet, *, pinned: bool) -> None:
        """Hold the members' host files, and prefer to keep the slot."""
        request = self._request(expert_set.digest)
        await self._engine.engine_core.call_utility_async("expert_pin", request.lora_name, request.lora_path, pinned)
        if pinned:
            await self._engine.pin_lora(request.lora_int_id)
            self._pinned.add(expert_set.digest)
        else:
            await self._engine.collective_rpc("expert_unpin", args=(request.lora_int_id,))
            self._pinned.discard(expert_set.digest)

    async def list(self) -> tuple[Residency, ...]:
        """What the engine holds of the sets that this server has shown it."""
        report = (await self._engine.collective_rpc("expert_report"))[0]["residency"]
        contents = await self._engine.engine_core.call_utility_async("expert_contents")
        sizes = {key: size for key, size, _ in contents}
        held, slots = set(report["held"]), set(report["slots"])
        return tuple(
            Residency(
                set_digest=digest,
                in_slot=self._id_of[digest] in slots,
                pinned=digest in self._pinned,
                size_bytes=sum(sizes.get(member.expert, 0) for member in expert_set.members),
            )
            for digest, expert_set in self._sets.items()
            if self._id_of[digest] in held
        )


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1024**2:.1f} MiB"

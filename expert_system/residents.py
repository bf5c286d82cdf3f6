"""The experts that the engine holds, by name: list, get, load, unload, pin.

    ExpertRef -> stored expert -> set of one -> engine -> Resident

Promise: a caller never sees a set or a path; what is loaded here is what a request with the bare name runs with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from expert_system.domain import Digest, ExpertRef, ExpertSet
from expert_system.engine.interface import Attached, Engine, Residency, ServedBase
from expert_system.engine.sets import compose
from expert_system.errors import RequestError
from expert_system.package.stored import StoredExpert
from expert_system.serving import Serving


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """One installed expert and where the engine holds it now."""

    expert: StoredExpert
    residency: Residency | None
    """None when the engine does not hold it."""
    loadable: bool
    """False when this server cannot run it: another base, too many ranks, or unverified without `--dev`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Residents:
    """Everything installed, and how full the engine is."""

    experts: tuple[Resident, ...]
    base: ServedBase
    slots_used: int


class ExpertDesk:
    """Looks after the experts that the engine holds."""

    def __init__(
        self, serving: Serving, engine: Engine, experts: Callable[[], Sequence[StoredExpert]], *, dev: bool
    ) -> None:
        """Join the parts; `experts` lists the store and runs in a thread."""
        self._serving = serving
        self._engine = engine
        self._experts = experts
        self._dev = dev

    async def list(self, *, loaded_only: bool) -> Residents:
        """Installed experts by name and version, with what the engine holds of each."""
        base = self._engine.base
        residencies = {found.set_digest: found for found in await self._engine.residencies()}
        stored = sorted(await asyncio.to_thread(self._experts), key=lambda e: (e.manifest.name, e.manifest.version))
        residents = [self._resident(expert, base, residencies) for expert in stored]
        return Residents(
            experts=tuple(r for r in residents if r.residency is not None or not loaded_only),
            base=base,
            slots_used=sum(found.in_slot for found in residencies.values()),
        )

    async def get(self, reference: ExpertRef) -> Resident:
        """One installed expert, whether or not this server may run it.

        Raises:
            UnknownExpert: the store has no such name or version.
        """
        expert = await asyncio.to_thread(self._serving.installed, reference)
        residencies = {found.set_digest: found for found in await self._engine.residencies()}
        return self._resident(expert, self._engine.base, residencies)

    async def load(self, reference: ExpertRef) -> tuple[Resident, Attached]:
        """Bring an expert into memory and, when one is idle, into a slot."""
        attached = await self._engine.load(await self._set_of_one(reference))
        return await self.get(reference), attached

    async def unload(self, reference: ExpertRef) -> Resident:
        """Free an expert's slot and memory; nothing happens when it is not loaded.

        Raises:
            RequestError: a request uses it.
        """
        await self._engine.unload((await self._set_of_one(reference)).digest)
        return await self.get(reference)

    async def pin(self, reference: ExpertRef, *, pinned: bool) -> Resident:
        """Keep an expert in memory, or let go of it again."""
        await self._engine.pin(await self._set_of_one(reference), pinned=pinned)
        return await self.get(reference)

    async def _set_of_one(self, reference: ExpertRef) -> ExpertSet:
        expert = await asyncio.to_thread(self._serving.stored, reference)
        return compose([(expert, reference.weight)], base=self._engine.base).expert_set

    def _resident(self, expert: StoredExpert, base: ServedBase, residencies: Mapping[Digest, Residency]) -> Resident:
        try:
            digest = compose([(expert, None)], base=base).expert_set.digest
        except RequestError:
            return Resident(expert=expert, residency=None, loadable=False)
        return Resident(expert=expert, residency=residencies.get(digest), loadable=expert.verified or self._dev)

"""The LoRA manager that runs inside vLLM's workers: it maps checked host files and fills slots, nothing else.

    sets of the next step -> host files (made by the front end or the engine core) -> held sets -> slots

Promise: content was checked before a request reaches a worker, so this cannot fail on content and take the engine
down with it (vllm.md, third gate).
"""

from __future__ import annotations

import time
from typing import Any
from weakref import WeakValueDictionary

from vllm.lora.request import LoRARequest
from vllm.lora.worker_manager import LRUCacheWorkerLoRAManager
from vllm.platforms import current_platform

from expert_system.engine.plugin import compose, hostfiles
from expert_system.engine.plugin.cpu.lanes import SlotSet
from expert_system.engine.plugin.manager import ExpertModelManager, HeldSet
from expert_system.engine.plugin.mapped import MappedExpert


class ExpertWorkerManager(LRUCacheWorkerLoRAManager):
    """vLLM's worker-side manager with expert sets in place of adapters."""

    _manager_cls = ExpertModelManager
    _adapter_manager: ExpertModelManager

    def __init__(self, vllm_config: Any, *args: Any, **kwargs: Any) -> None:
        """Remember the engine's configuration: host files depend on its base and dtype."""
        super().__init__(vllm_config, *args, **kwargs)
        self._files = hostfiles.HostFiles.of_engine(vllm_config)
        self._mapped: WeakValueDictionary[str, MappedExpert] = WeakValueDictionary()
        self.last_attach_s = 0.0

    def add_adapter(self, lora_request: LoRARequest) -> bool:
        """Hold a set ahead of its first request, and attach it when a slot is idle."""
        held = self._hold(lora_request)
        self._adapter_manager.attach_if_idle(lora_request.lora_int_id)
        return held

    def add_dummy_lora(self, lora_request: LoRARequest, rank: int) -> bool:
        """Stand-ins of vLLM's profile runs: empty sets on the CPU, vLLM's own elsewhere."""
        if lora_request.lora_int_id in self._adapter_manager.held:
            return False
        native = None
        if not current_platform.is_cpu():
            native = self._adapter_manager.create_dummy_lora(lora_request.lora_int_id, rank, self.embedding_modules)
        self._adapter_manager.hold(HeldSet(lora_request.lora_int_id, SlotSet(()), native))
        return True

    def _apply_adapters(self, lora_requests: set[LoRARequest]) -> None:
        started = time.perf_counter()
        for request in lora_requests:
            self._hold(request)
        if self._adapter_manager.attach([request.lora_int_id for request in lora_requests]):
            self.last_attach_s = time.perf_counter() - started

    def _hold(self, request: LoRARequest) -> bool:
        manager = self._adapter_manager
        if request.lora_int_id in manager.held:
            return False
        self._forget_evicted()
        members = tuple((self._map(member), member.weight) for member in self._files.members(request))
        native = None
        if not current_platform.is_cpu():
            native = compose.native_model(request.lora_int_id, members, manager.layers)
        manager.hold(HeldSet(request.lora_int_id, SlotSet(members), native))
        return True

    def _map(self, member: hostfiles.HostMember) -> MappedExpert:
        mapped = self._mapped.get(member.key)
        if mapped is None:
            mapped = MappedExpert(self._files.ensure(member), self._adapter_manager.layers)
            self._mapped[member.key] = mapped
        return mapped

    def _forget_evicted(self) -> None:
        """Let go of idle sets whose host files the engine core has evicted, so that their memory is really free."""
        manager = self._adapter_manager
        for set_id, held in list(manager.held.items()):
            if set_id in manager.table.occupants:
                continue
            if any(not expert.path.exists() for expert, _ in held.slot_set.members):
                manager.drop(set_id)

    def pin_adapter(self, adapter_id: int) -> bool:
        """Prefer to keep this set's slot (vllm.md, Decided 4)."""
        if adapter_id not in self._adapter_manager.held:
            raise ValueError(f"expert set {adapter_id} is not loaded; load it before pinning it")
        self._adapter_manager.table.pin(adapter_id)
        return True

    def unpin_adapter(self, adapter_id: int) -> bool:
        """Take the preference away."""
        self._adapter_manager.table.unpin(adapter_id)
        return True

    def remove_adapter(self, adapter_id: int) -> bool:
        """Free the set's slot and memory; a batch that still needs it loads it again."""
        return self._adapter_manager.drop(adapter_id)

    def list_adapters(self) -> set[int]:
        """Ids of the sets that this worker holds."""
        return set(self._adapter_manager.held)

    def residency(self) -> dict[str, Any]:
        """What is held and what sits in slots, for the server."""
        manager = self._adapter_manager
        return {
            "held": sorted(manager.held),
            "slots": list(manager.table.occupants),
            "last_attach_s": self.last_attach_s,
        }

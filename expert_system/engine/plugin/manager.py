"""The slots of one worker: sets go in by reference on the CPU, by copy into vLLM's own buffers elsewhere.

    sets of the next step -> SlotTable -> fills -> slots

Promise: a set that the step needs has its slot before the step runs, whatever is pinned.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
from vllm.lora.layers.column_parallel_linear import ColumnParallelLinearWithLoRA
from vllm.lora.layers.row_parallel_linear import RowParallelLinearWithLoRA
from vllm.lora.lora_model import LoRAModel
from vllm.lora.model_manager import LRUCacheLoRAModelManager
from vllm.platforms import current_platform

from expert_system.engine.plugin import gates
from expert_system.engine.plugin.cpu.lanes import SlotSet
from expert_system.engine.plugin.geometry import Layer, Sharding, Slice
from expert_system.engine.plugin.slots import SlotTable


@dataclass(frozen=True, slots=True)
class HeldSet:
    """One set that the worker can put into a slot."""

    id: int
    slot_set: SlotSet
    native: LoRAModel | None
    """The stacked ranks for vLLM's own buffers; None on the CPU."""


class ExpertModelManager(LRUCacheLoRAModelManager):
    """vLLM's manager with our slot table, and without its buffers on the CPU."""

    supported_lora_modules: list[str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Wrap the model's linear layers and work out where each module of an adapter lies."""
        super().__init__(*args, **kwargs)
        self.held: dict[int, HeldSet] = {}
        self.table = SlotTable(self.lora_slots)
        self.layers = _geometry(self)
        if gates.enabled() and not current_platform.is_cpu():
            self._make_gates()

    def _make_gates(self) -> None:
        for module in self._linear():
            like = module.lora_b_stacked[0]
            outputs = sum(piece.size for piece in module.expert_layer.slices)
            module.expert_gates = gates.LayerGates.identity(self.lora_slots, outputs, module.input_size, like)

    def _linear(self) -> list[Any]:
        return [module for module in self.modules.values() if isinstance(module, BaseLinearLayerWithLoRA)]

    def _init_punica_wrapper(self, *args: Any, **kwargs: Any) -> None:
        if self.lora_config.fully_sharded_loras:
            raise ValueError("fully_sharded_loras bypasses the experts' hooks; start without it")
        # Experts adapt linear layers only: vLLM's path for vocabulary-sized layers gathers their weights for
        # every token, adapter or not, and halves the base's throughput.
        embeddings = set(getattr(self.model, "embedding_modules", {}))
        self.supported_lora_modules = [name for name in self.supported_lora_modules if name not in embeddings]
        super()._init_punica_wrapper(*args, **kwargs)

    def _match_target_modules(self, module_name: str) -> bool:
        return module_name.rpartition(".")[2] in self.supported_lora_modules and super()._match_target_modules(
            module_name
        )

    def hold(self, held: HeldSet) -> None:
        """Keep a set; it gets its slot when a step needs it."""
        self.held[held.id] = held
        if held.native is not None:
            self._create_merged_loras_inplace(held.native)

    def attach(self, needed: Collection[int]) -> int:
        """Give every one of these held sets a slot; return how many slots were filled."""
        fills = self.table.assign(needed)
        for fill in fills:
            self._fill(fill.slot, self.held[fill.set_id])
        self.lora_index_to_id = list(self.table.occupants)
        return len(fills)

    def attach_if_idle(self, set_id: int) -> None:
        """Give a set a slot ahead of its first request, if that pushes nobody out."""
        if set_id not in self.table.occupants and None in self.table.occupants:
            self.attach([set_id])

    def drop(self, set_id: int) -> bool:
        """Free a set's slot and let go of it; return whether it was held."""
        slot = self.table.free(set_id)
        if slot is not None:
            self._clear(slot)
        self.lora_index_to_id = list(self.table.occupants)
        return self.held.pop(set_id, None) is not None

    def remove_all_adapters(self) -> None:
        """Let go of everything, as vLLM does after its warm-up."""
        for set_id in list(self.held):
            self.drop(set_id)
        self._last_mapping = None
        self._last_slot_layout = None

    def list_adapters(self) -> dict[int, Any]:
        """What is held, by id."""
        return dict(self.held)

    def _fill(self, slot: int, held: HeldSet) -> None:
        if held.native is None:
            for wrapper in self.punica_wrapper_mapping.values():
                wrapper.held[slot] = held.slot_set
            return
        for name, module in self.modules.items():
            weights = self._get_lora_layer_weights(held.native, name)
            if weights is None:
                module.reset_lora(slot)
            else:
                module.set_lora(slot, weights.lora_a, weights.lora_b)
        if gates.enabled():
            for module in self._linear():
                module.expert_gates.fill(slot, module.expert_layer, held.slot_set.members)

    def _clear(self, slot: int) -> None:
        if current_platform.is_cpu():
            for wrapper in self.punica_wrapper_mapping.values():
                wrapper.held[slot] = None
            return
        for module in self.modules.values():
            module.reset_lora(slot)
        if gates.enabled():
            for module in self._linear():
                module.expert_gates.clear(slot)


def _geometry(manager: ExpertModelManager) -> Sequence[Layer]:
    """Number the wrapped linear layers and their slices, and leave each layer its own entry as `expert_layer`."""
    layers: list[Layer] = []
    row = 0
    for name, module in manager.modules.items():
        if not isinstance(module, BaseLinearLayerWithLoRA):
            continue
        modules = manager.packed_modules.get(name, [name])
        if len(modules) != len(module.output_slices):
            raise ValueError(
                f"{name} packs {len(module.output_slices)} slices, but the model names {len(modules)} modules for it;"
                " this architecture is not supported with experts"
            )
        shards = getattr(module, "output_ids", (module.tp_rank,) * len(modules))
        slices = []
        offset = 0
        for part, size, shard in zip(modules, module.output_slices, shards, strict=True):
            slices.append(Slice(module=part, row=row, offset=offset, size=size, shard=shard))
            offset += size
            row += 1
        layer = Layer(
            index=len(layers),
            name=name,
            slices=tuple(slices),
            sharding=_sharding(module),
            input_size=module.input_size,
            rank=module.tp_rank,
        )
        module.expert_layer = layer
        layers.append(layer)
    return tuple(layers)


def _sharding(module: BaseLinearLayerWithLoRA) -> Sharding:
    if module.tp_size == 1:
        return Sharding.NONE
    if isinstance(module, RowParallelLinearWithLoRA):
        return Sharding.INPUTS
    if isinstance(module, ColumnParallelLinearWithLoRA):
        return Sharding.OUTPUTS
    return Sharding.NONE

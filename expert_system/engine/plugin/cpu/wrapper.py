"""Our CPU punica wrapper: it keeps the slots, and one step's lanes, for the layers to read.

    mapping of the step -> lanes -> layers.py

Promise: "no adapter" means no work. vLLM's own CPU wrapper indexes with -1 for it and so gives base requests the
last slot's adapter (vllm.md, Behaviour that bites); here those rows are in no lane.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from vllm.lora.layers import LoRAMapping
from vllm.lora.punica_wrapper.punica_base import PunicaWrapperBase

from expert_system.engine.plugin.cpu.lanes import Lanes, SlotSet, lanes_of


class ExpertPunicaWrapper(PunicaWrapperBase):
    """Slots as references, and the lanes of the step that runs now."""

    def __init__(self, max_num_batched_tokens: int, max_batches: int, device: torch.device, **kwargs: Any) -> None:
        """Take vLLM's arguments; `lora_config.max_loras` says how many slots there are."""
        super().__init__(max_num_batched_tokens, max_batches, device)
        self.held: list[SlotSet | None] = [None] * kwargs["lora_config"].max_loras
        self.lanes: Lanes | None = None

    def update_metadata(
        self,
        mapping: LoRAMapping,
        lora_index_to_id: list[int | None],
        max_loras: int,
        vocab_size: int,
        **kwargs: Any,
    ) -> None:
        """Work out the lanes of the next step; vLLM calls it when the batch or the slots have changed."""
        slot_of = {set_id: slot for slot, set_id in enumerate(lora_index_to_id) if set_id is not None}
        slots = [slot_of[set_id] if set_id > 0 else -1 for set_id in mapping.index_mapping]
        self.lanes = lanes_of(slots, self.held)

    def _not_ours(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError(
            "this layer type has no expert support on the CPU; leave it out of the adapter's target_modules"
        )

    add_shrink = add_expand = add_lora_embedding = add_lora_linear = _not_ours
    add_lora_logits = apply_lora_full_linear = _not_ours

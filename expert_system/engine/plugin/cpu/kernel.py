"""The adapter arithmetic of the CPU: the fused kernel where it was built, else the reference in torch."""

from __future__ import annotations

from expert_system.engine.plugin.cpu.reference import apply, gate_inputs

__all__ = ["apply", "gate_inputs"]

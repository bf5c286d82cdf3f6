"""What a described processor can compute."""

from __future__ import annotations

import pytest

from expert_system.processor import emulates_bf16


@pytest.mark.parametrize("machine", ["x86_64", "AMD64"])
@pytest.mark.parametrize("capability", ["DEFAULT", "NO AVX", "AVX2"])
def test_x86_without_avx512_emulates_bf16(machine: str, capability: str) -> None:
    """decisions/0012: it has no arithmetic for it."""
    assert emulates_bf16(machine=machine, capability=capability)


@pytest.mark.parametrize(
    ("machine", "capability"), [("x86_64", "AVX512"), ("aarch64", "DEFAULT"), ("aarch64", "SVE256")]
)
def test_of_no_other_processor_it_is_known(machine: str, capability: str) -> None:
    """decisions/0012: AVX-512 without BF16 and ARM were not measured."""
    assert not emulates_bf16(machine=machine, capability=capability)

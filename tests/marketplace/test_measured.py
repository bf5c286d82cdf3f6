"""What was measured of experts running together, as the router reads it."""

from __future__ import annotations

from pathlib import Path

from expert_system.domain import Digest
from expert_system.marketplace.state import Composition
from expert_system.marketplace.store import Store

ONE, TWO, THREE, BASE = (Digest(letter * 64) for letter in "123b")


def measured(*experts: Digest, harmful: bool, base: Digest = BASE, worst_loss: float = 0.2) -> Composition:
    return Composition(
        experts=frozenset(experts),
        base=base,
        worst_loss=worst_loss,
        harmful=harmful,
        measured_at="2026-11-22T22:00:00Z",
    )


def test_harmful_sets_are_found_by_base_whatever_their_order(tmp_path: Path) -> None:
    """Keyed by the sorted digests and the base's; what did no harm is no reason to part experts."""
    store = Store(tmp_path)
    store.note_composition(measured(TWO, ONE, harmful=True))
    store.note_composition(measured(ONE, THREE, harmful=False))

    assert {BASE: frozenset({frozenset({ONE, TWO})})} == store.harmful()
    store.close()


def test_a_later_measurement_replaces_the_earlier_and_changes_the_revision(tmp_path: Path) -> None:
    """By another process too: a running router sees it."""
    store, other = Store(tmp_path), Store(tmp_path)
    store.note_composition(measured(ONE, TWO, harmful=True))
    before = store.revision()
    assert before == store.revision()

    other.note_composition(measured(TWO, ONE, harmful=False))

    assert before != store.revision()
    assert {} == store.harmful()
    store.close()
    other.close()

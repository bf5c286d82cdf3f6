"""Families made on the spot: every wording can be filled."""

from __future__ import annotations

from random import Random

import pytest

from expert_system.training.dataset import TRAIN
from expert_system.training.families import SLOT, Family
from expert_system.training.split import Split

FAMILIES = 200


@pytest.fixture(scope="module")
def families(splits: dict[str, Split]) -> list[Family]:
    composed = splits[TRAIN].composed
    assert composed is not None
    return [composed.family(Random(seed)) for seed in range(FAMILIES)]


def test_leads_and_groups_name_fields_of_their_family(families: list[Family]) -> None:
    """A slot without a field could not be filled, and `{t}` must be gone from every sentence."""
    for family in families:
        names = {field.name for field in family.fields}
        said = [text for field in family.fields for text in (*field.say, *field.yes, *field.no)]

        assert {slot for lead in family.leads for slot in SLOT.findall(lead)} <= names
        assert {name for group in family.groups for name, _ in group.inner_keys} == names
        assert not [text for text in (*said, *family.leads) if "{t}" in text]


def test_each_field_of_a_family_has_a_name_of_its_own(families: list[Family]) -> None:
    """Slots and groups go by the name; two alike would be filled with one value."""
    for family in families:
        names = [field.name for field in family.fields]

        assert len(set(names)) == len(names)

"""The experts in this repository, through the same verification as everybody's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from expert_system.marketplace.market import Market
from expert_system.marketplace.staging import Staging
from expert_system.marketplace.store import Store
from expert_system.marketplace.verify import Fetched, VerifiedPackage
from expert_system.package.binding import AdapterType

ROOT = Path(__file__).resolve().parents[2]
EXPERTS = ROOT / "experts"
KEYS = ROOT / "expert_system" / "marketplace" / "official_keys.json"
SIGNED = sorted(folder for folder in EXPERTS.iterdir() if folder.name != "template")


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory) -> dict[str, VerifiedPackage]:
    """Every folder but the template, checked by a node that believes the official keys only."""
    store = Store(tmp_path_factory.mktemp("home"))
    try:
        with Staging(store.home) as staging:
            market = Market(store, staging, locations={})
            return {folder.name: market.check(Fetched(root=folder, source=str(folder))) for folder in SIGNED}
    finally:
        store.close()


def test_every_expert_passes_every_step_under_an_official_key(verified: dict[str, VerifiedPackage]) -> None:
    """formats.md 4.1-4.9; set-up installs the official ones in the same way."""
    assert {folder.name.removeprefix("expert-") for folder in SIGNED} == {
        package.manifest.name.removeprefix("expert-") for package in verified.values()
    }
    assert {package.keyid for package in verified.values()} <= {
        key["keyid"] for key in json.loads(KEYS.read_text())["keys"]
    }


def test_every_kind_of_adapter_occurs(verified: dict[str, VerifiedPackage]) -> None:
    """Issue A7: DoRA, IA³ and a soft prompt each occur in at least one shipped or demonstration expert."""
    kinds = {
        adapter.type
        for package in verified.values()
        for base in package.manifest.base_models
        for adapter in base.adapters
    }

    assert set(AdapterType) == kinds

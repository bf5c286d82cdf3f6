"""The store: which expert a name means, --dev installs, and two processes at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from expert_system.domain import Digest
from expert_system.errors import AdapterRefused, PackageError, UnknownExpert
from expert_system.marketplace.acquire import Acquirer
from expert_system.marketplace.leases import IDLE_S, MAX_HELD, Leases
from expert_system.marketplace.store import Store
from expert_system.marketplace.upkeep import collect, recheck
from expert_system.testing.expert import make_expert
from expert_system.testing.market import Market, contents


def test_the_same_folder_always_gets_the_same_digest_and_a_change_another(
    market: Market, store: Store, tmp_path: Path
) -> None:
    """formats.md 3.3: the digest is that of the content, for --dev too."""
    folder = make_expert(tmp_path / "own", market.base)
    first = store.install_dev(folder)
    assert first.digest == store.install_dev(folder).digest
    (folder / "README.md").write_text("changed")
    second = store.install_dev(folder)
    assert first.digest != second.digest
    assert [second.digest] == [expert.digest for expert in store.experts()], "the same version again replaces it"


def test_an_unverified_expert_hides_a_verified_one_only_with_dev(
    market: Market, store: Store, acquirer: Acquirer, tmp_path: Path
) -> None:
    """formats.md 1.2: a bare name is the verified expert, except where --dev was asked for."""
    market.publish(version="1.0.0")
    acquirer.install([market.source("expert-sql")])
    store.install_dev(make_expert(tmp_path / "own", market.base, version="1.1.0"))
    assert store.find("sql").verified
    assert not store.find("sql", "1.1.0").verified
    assert "1.1.0" == Store(store.home.root, dev=True).find("sql").manifest.version


def test_versions_are_compared_as_numbers(market: Market, store: Store, tmp_path: Path) -> None:
    """1.10.0 is above 1.9.0."""
    for version in ("1.10.0", "1.9.0"):
        store.install_dev(make_expert(tmp_path / version, market.base, version=version))
    assert "1.10.0" == store.find("sql").manifest.version


def test_a_folder_that_could_not_be_served_is_not_stored(market: Market, store: Store, tmp_path: Path) -> None:
    """--dev skips the signature, never the shape and weight checks."""
    folder = make_expert(tmp_path / "own", market.base)
    (folder / "adapter_model.bin").write_bytes(b"x")
    with pytest.raises(PackageError, match="safetensors"):
        store.install_dev(folder)
    (folder / "adapter_model.bin").unlink()
    config = folder / "weights" / "tiny" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"bias": "all"}))
    with pytest.raises(AdapterRefused, match="bias"):
        store.install_dev(folder)
    assert {} == contents(store.home.store)


def test_an_unknown_name_or_version_says_how_to_install_it(store: Store) -> None:
    """The message holds the next step."""
    with pytest.raises(UnknownExpert, match=r"expert-cli install expert-sql@1\.0\.0"):
        store.find("sql", "1.0.0")


def test_another_process_sees_an_install_at_once(market: Market, store: Store, tmp_path: Path) -> None:
    """formats.md 7.2: two processes may use the store at once."""
    other = Store(store.home.root)
    store.install_dev(make_expert(tmp_path / "own", market.base))
    assert "1.0.0" == other.find("sql").manifest.version
    other.uninstall("sql")
    with pytest.raises(UnknownExpert):
        store.find("sql")
    other.close()


def test_processes_that_install_the_same_expert_at_once_all_succeed(market: Market, store: Store) -> None:
    """formats.md 7.2: locks are per expert."""
    market.publish()
    program = (
        "import sys; from pathlib import Path; from expert_system.marketplace.acquire import Acquirer;"
        "from expert_system.marketplace.store import Store; from expert_system.marketplace.sources import Source;"
        "Acquirer(Store(Path(sys.argv[1]))).install([Source(location=sys.argv[2])])"
    )
    command = [sys.executable, "-c", program, str(store.home.root), str(market.repository("expert-sql"))]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [("", 0)] * 3 == [(child.communicate()[1], child.returncode) for child in children]
    assert [None] == [finding.problem for finding in recheck(store)]


def test_what_a_killed_process_left_is_removed_and_nothing_else(market: Market, store: Store, tmp_path: Path) -> None:
    """formats.md 7.1: leftovers are known by the id of the process that is gone."""
    store.install_dev(make_expert(tmp_path / "own", market.base))
    before = contents(store.home.store)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (store.home.aside / f"{dead.pid}.staging.x" / "half").mkdir(parents=True)
    assert 1 == collect(store).folders
    assert [] == list(store.home.aside.iterdir())
    assert before == contents(store.home.store)


def test_a_lease_ends_when_nobody_asks_any_more(tmp_path: Path, store: Store) -> None:
    """formats.md 7.2: a server holds what it was asked for lately."""
    moment = 0.0
    server = Leases(tmp_path, clock=lambda: moment)
    other = Leases(tmp_path)
    server.touch(Digest("a"))
    with other.unless_used(Digest("a")) as free:
        assert not free
    moment = IDLE_S + 1
    server.touch(Digest("b"))
    with other.unless_used(Digest("a")) as free:
        assert free
    server.close()


def test_a_process_holds_a_bounded_number_of_leases(tmp_path: Path) -> None:
    """Each lease takes a file descriptor."""
    server, other = Leases(tmp_path), Leases(tmp_path)
    for number in range(MAX_HELD + 1):
        server.touch(Digest(f"{number}"))
    with other.unless_used(Digest("0")) as free:
        assert free
    with other.unless_used(Digest("1")) as free:
        assert not free
    server.close()

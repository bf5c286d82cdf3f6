"""Install, requirements, update, rollback, lock and gc, over real repositories on disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from expert_system.errors import MarketplaceError, SourceUnavailable, UnknownExpert, VerificationError
from expert_system.marketplace.acquire import Acquirer
from expert_system.marketplace.lock import read_lock
from expert_system.marketplace.resolve import Unresolvable
from expert_system.marketplace.sources import Source, read_sources
from expert_system.marketplace.store import Store
from expert_system.marketplace.upkeep import collect, recheck
from expert_system.package.archive import pack
from expert_system.testing.market import Market, contents, flip_one_byte, git, weights_of


def test_an_update_replaces_a_version_and_a_named_old_one_can_still_be_asked_for(
    market: Market, store: Store, acquirer: Acquirer
) -> None:
    """formats.md 1.2: a bare name is the locked version; NAME@VERSION is any that is stored."""
    market.publish(version="1.0.0")
    acquirer.install([market.source("expert-sql")])
    market.publish(version="1.1.0")
    assert ["1.1.0"] == [expert.manifest.version for expert in acquirer.update().installed]
    assert "1.1.0" == store.find("sql").manifest.version
    assert "1.0.0" == store.find("sql", "1.0.0").manifest.version
    assert ["1.1.0"] == [expert.manifest.version for expert in store.experts()]


def test_nothing_is_fetched_or_written_when_nothing_changed(market: Market, store: Store, acquirer: Acquirer) -> None:
    """design.md: a round without news leaves lock and sources alone."""
    market.publish()
    acquirer.install([market.source("expert-sql")])
    stamps = [store.home.lock.stat().st_mtime_ns, store.home.sources.stat().st_mtime_ns]
    outcome = acquirer.update()
    assert ((), 1) == (outcome.installed, len(outcome.kept))
    assert stamps == [store.home.lock.stat().st_mtime_ns, store.home.sources.stat().st_mtime_ns]


def test_requirements_of_followed_repositories_are_installed_with_the_expert(
    market: Market, store: Store, acquirer: Acquirer
) -> None:
    """formats.md 6.1: requires is solved, and the lock names every expert."""
    market.publish("expert-english", version="1.2.0")
    market.publish("expert-mail", composition={"requires": ["expert-english@>=1.0.0,<2.0.0"]})
    acquirer.install([market.source("expert-english"), market.source("expert-mail")])
    assert ["expert-english", "expert-mail"] == [entry.name for entry in read_lock(store.home.lock).experts]


def test_a_requirement_that_no_source_has_is_explained(market: Market, store: Store, acquirer: Acquirer) -> None:
    """formats.md 6.1: a conflict prints the chain that causes it."""
    market.publish("expert-mail", composition={"requires": ["expert-english@>=1.0.0"]})
    with pytest.raises(Unresolvable, match=r"expert-mail@1\.0\.0 requires expert-english.*none in any source"):
        acquirer.install([market.source("expert-mail")])
    assert [] == store.experts()


def test_rollback_holds_until_an_update_by_name(market: Market, store: Store, acquirer: Acquirer) -> None:
    """docs/GIT_DISTRIBUTION.md: what was rolled back is not updated behind its owner's back."""
    market.publish(version="1.0.0")
    acquirer.install([market.source("expert-sql")])
    market.publish(version="1.1.0")
    acquirer.update()
    assert "1.0.0" == acquirer.rollback("sql").manifest.version
    acquirer.update()
    assert "1.0.0" == store.find("sql").manifest.version
    acquirer.update(["sql"])
    assert "1.1.0" == store.find("sql").manifest.version
    collect(store)
    with pytest.raises(MarketplaceError, match="no earlier version"):
        acquirer.rollback("sql")


def test_a_lock_is_reproduced_exactly_on_another_node_from_a_mirror(
    market: Market, store: Store, acquirer: Acquirer, tmp_path: Path
) -> None:
    """formats.md 6.2: `--locked` installs the same digests, though newer versions exist."""
    market.publish(version="1.0.0")
    acquirer.install([market.source("expert-sql")])
    market.publish(version="1.1.0")
    moved = tmp_path / "mirror"
    shutil.copytree(market.folder / "repositories", moved)
    shutil.rmtree(market.folder / "repositories")
    other = market.store(tmp_path / "other")
    mirrors = [(str(market.folder / "repositories"), str(moved))]
    Acquirer(other).install_locked(store.home.lock, mirrors=mirrors)
    assert [expert.digest for expert in store.experts()] == [expert.digest for expert in other.experts()]
    assert store.home.lock.read_bytes() == other.home.lock.read_bytes()


def test_a_locked_tag_that_was_moved_is_refused(
    market: Market, store: Store, acquirer: Acquirer, tmp_path: Path
) -> None:
    """formats.md 5.2, 4.8: what is fetched must match tag, commit and digest."""
    market.publish(seed=1)
    acquirer.install([market.source("expert-sql")])
    market.publish(seed=2)
    other = market.store(tmp_path / "other")
    with pytest.raises(VerificationError, match="moved") as caught:
        Acquirer(other).install_locked(store.home.lock)
    assert "4.8" == caught.value.step


def test_a_commit_can_be_asked_for(market: Market, store: Store, acquirer: Acquirer) -> None:
    """formats.md 5.3: `@commit` falls back to a bounded full fetch."""
    folder = market.publish(version="1.0.0")
    commit = git(folder, "rev-parse", "HEAD").strip()
    market.publish(version="1.1.0")
    acquirer.install([Source.parse(f"{folder}@{commit}")])
    assert "1.0.0" == store.find("sql").manifest.version


def test_an_archive_installs_like_its_repository(
    market: Market, store: Store, acquirer: Acquirer, tmp_path: Path
) -> None:
    """formats.md 2.2: NAME-X.Y.Z.expert is the same tree, so it has the same digest."""
    folder = market.publish()
    archive = tmp_path / "expert-sql-1.0.0.expert"
    pack(folder, archive)
    installed = acquirer.install([Source(location=str(archive))]).installed[0]
    other = market.store(tmp_path / "other")
    assert installed.digest == Acquirer(other).install([market.source("expert-sql")]).installed[0].digest


def test_one_bad_update_does_not_stop_the_others(market: Market, store: Store, acquirer: Acquirer) -> None:
    """Issue A5: a bad update never displaces a good version."""
    for name in ("expert-a", "expert-b"):
        market.publish(name)
        acquirer.install([market.source(name)])
    market.publish("expert-a", version="1.1.0", after_signing=lambda folder: flip_one_byte(weights_of(folder)))
    market.publish("expert-b", version="1.1.0")
    outcome = acquirer.update(tolerant=True)
    assert ["expert-a"] == [name for name, _ in outcome.failed]
    assert ["1.0.0", "1.1.0"] == [expert.manifest.version for expert in store.experts()]


def test_gc_removes_replaced_versions_but_not_those_in_use(market: Market, store: Store, acquirer: Acquirer) -> None:
    """formats.md 7.2: gc removes what no lock, pin or running server uses."""
    market.publish(version="1.0.0")
    old = acquirer.install([market.source("expert-sql")]).installed[0]
    market.publish(version="1.1.0")
    acquirer.update()
    server = Store(store.home.root, hold=True)
    assert "1.0.0" == server.find("sql", "1.0.0").manifest.version
    assert ["1.0.0"] == [record.version for record in collect(store).in_use]
    server.close()
    assert ["1.0.0"] == [record.version for record in collect(store, dry_run=True).removed]
    assert ["1.0.0"] == [record.version for record in collect(store).removed]
    assert not old.path.exists()
    assert "1.1.0" == store.find("sql").manifest.version


def test_verify_names_the_damaged_file_and_quarantines_the_expert(
    market: Market, store: Store, acquirer: Acquirer
) -> None:
    """formats.md 7.2: `expert-cli verify` re-checks every byte."""
    market.publish()
    expert = acquirer.install([market.source("expert-sql")]).installed[0]
    assert [None] == [finding.problem for finding in recheck(store)]
    flip_one_byte(weights_of(expert.path))
    finding = recheck(store)[0]
    assert finding.problem is not None
    assert "4.2" == finding.problem.step
    with pytest.raises(UnknownExpert):
        store.find("sql")


def test_uninstall_forgets_what_was_followed(market: Market, store: Store, acquirer: Acquirer) -> None:
    """An uninstalled expert does not come back with the next update."""
    market.publish()
    acquirer.install([market.source("expert-sql")])
    store.uninstall("sql")
    acquirer.forget(["sql"])
    assert () == read_lock(store.home.lock).experts
    assert () == read_sources(store.home.sources).experts
    assert () == acquirer.update().installed


def test_a_source_that_is_not_there_changes_nothing(store: Store, acquirer: Acquirer, tmp_path: Path) -> None:
    """Exit code 5 belongs to what cannot be reached."""
    with pytest.raises(SourceUnavailable, match="check the address"):
        acquirer.install([Source(location=str(tmp_path / "nowhere"))])
    assert {} == contents(store.home.store)


def test_the_lock_is_sorted_json(market: Market, store: Store, acquirer: Acquirer) -> None:
    """formats.md 6.2: equal locks are equal bytes."""
    for name in ("expert-b", "expert-a"):
        market.publish(name)
        acquirer.install([market.source(name)])
    entries = json.loads(store.home.lock.read_text())["experts"]
    assert ["expert-a", "expert-b"] == [entry["name"] for entry in entries]
    assert ["commit", "digest", "keyid", "name", "source", "tag", "version"] == list(entries[0])


@pytest.mark.parametrize(
    ("text", "location", "wanted"),
    [
        ("https://host/x.git@1.2.3", "https://host/x.git", "==1.2.3"),
        ("ssh://git@host/x@>=1.0.0,<2.0.0", "ssh://git@host/x", ">=1.0.0,<2.0.0"),
        ("git@host:x.git", "git@host:x.git", "*"),
        ("sql", "sql", "*"),
        ("expert-sql@1.0.0", "expert-sql", "==1.0.0"),
    ],
)
def test_a_source_is_read_as_people_write_it(text: str, location: str, wanted: str) -> None:
    """formats.md 5.3: `@X.Y.Z`, `@range`, `@commit`; an @ of ssh belongs to the address."""
    assert (location, wanted) == (Source.parse(text).location, Source.parse(text).range)

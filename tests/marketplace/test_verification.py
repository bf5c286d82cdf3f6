"""One tampering test for each step of verification: refused with its number, and the node exactly as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from expert_system.errors import IntegrityError, PackageError, UnknownExpert, VerificationError
from expert_system.marketplace.acquire import Acquirer
from expert_system.marketplace.sources import Source
from expert_system.marketplace.store import Store
from expert_system.marketplace.trust import add_key, revoke_key
from expert_system.marketplace.verify import Fetched, VerifiedPackage
from expert_system.package.envelope import read_envelope
from expert_system.package.files import SIGNATURE_FILE
from expert_system.package.keys import SecretKey
from expert_system.package.signing import sign_payload
from expert_system.testing.expert import make_base, make_expert
from expert_system.testing.market import Market, contents, flip_one_byte, git, weights_of


def refused(acquirer: Acquirer, store: Store, source: Source, step: str, words: str) -> None:
    """The install fails at `step`, and store, lock and sources are byte for byte what they were."""
    before = contents(store.home.store) | {"lock": _bytes(store.home.lock), "sources": _bytes(store.home.sources)}
    records = store.records()
    with pytest.raises(VerificationError, match=words) as caught:
        acquirer.install([source])
    assert step == caught.value.step
    after = contents(store.home.store) | {"lock": _bytes(store.home.lock), "sources": _bytes(store.home.sources)}
    assert before == after
    assert records == store.records()
    assert [] == list(store.home.aside.iterdir())


def _bytes(file: Path) -> bytes:
    return file.read_bytes() if file.exists() else b""


def _symlink(folder: Path) -> None:
    (folder / "notes.txt").symlink_to("/etc/passwd")


def _executable(folder: Path) -> None:
    (folder / "run.txt").write_text("echo")
    (folder / "run.txt").chmod(0o755)


def _pickle(folder: Path) -> None:
    (folder / "adapter_model.bin").write_bytes(b"\x80\x04.")


def _extra(folder: Path) -> None:
    (folder / "extra.txt").write_text("x")


def _twin(folder: Path) -> None:
    (folder / "readme.md").write_text("another")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_symlink, "symbolic link"),
        (_executable, "executable"),
        (_pickle, "can run code"),
        (_twin, "equal on some file systems"),
    ],
)
def test_a_tree_that_breaks_the_shape_rules_is_refused_before_it_is_unpacked(
    market: Market, store: Store, acquirer: Acquirer, change: Callable[[Path], None], words: str
) -> None:
    """formats.md 4.1, 2.3: the tree's names and modes are checked in git, before a file is written."""
    market.publish(after_signing=change)
    with pytest.raises((PackageError, VerificationError), match=words):
        acquirer.install([market.source("expert-sql")])
    assert [] == store.experts()


def test_a_folder_that_breaks_the_shape_rules_is_refused_at_4_1(
    market: Market, store: Store, acquirer: Acquirer
) -> None:
    """formats.md 4.1: a folder on disk gets the same checks as a tree in git."""
    folder = market.publish(after_signing=_symlink)
    (folder / ".git").rename(folder.parent / "elsewhere")
    refused(acquirer, store, market.source("expert-sql"), "4.1", "symbolic link")


def test_a_flipped_byte_is_refused(market: Market, store: Store, acquirer: Acquirer) -> None:
    """formats.md 4.2: every file's digest must match the signed statement."""
    market.publish(after_signing=lambda folder: flip_one_byte(weights_of(folder)))
    refused(acquirer, store, market.source("expert-sql"), "4.2", "adapter_model.safetensors.*other bytes")


def test_an_added_file_is_refused(market: Market, store: Store, acquirer: Acquirer) -> None:
    """formats.md 4.2: nothing besides the listed files."""
    market.publish(after_signing=_extra)
    refused(acquirer, store, market.source("expert-sql"), "4.2", "extra.txt.*added")


def test_a_missing_file_is_refused(market: Market, store: Store, acquirer: Acquirer) -> None:
    """formats.md 4.2: every listed file is present."""
    market.publish(after_signing=lambda folder: (folder / "LICENSE").unlink())
    refused(acquirer, store, market.source("expert-sql"), "4.2", "LICENSE.*missing")


def test_an_unsigned_package_is_refused(market: Market, store: Store, acquirer: Acquirer) -> None:
    """formats.md 4: unsigned is refused."""
    market.publish(signed=False)
    refused(acquirer, store, market.source("expert-sql"), "4.3", "unsigned")


def test_a_signature_over_other_bytes_is_refused(market: Market, store: Store, acquirer: Acquirer) -> None:
    """formats.md 4.3: the envelope verifies."""

    def forge(folder: Path) -> None:
        envelope = json.loads((folder / SIGNATURE_FILE).read_text())
        signature = envelope["signatures"][0]["sig"]
        envelope["signatures"][0]["sig"] = ("A" if signature[0] != "A" else "B") + signature[1:]
        (folder / SIGNATURE_FILE).write_text(json.dumps(envelope))

    market.publish(after_signing=forge)
    refused(acquirer, store, market.source("expert-sql"), "4.3", "not genuine")


def test_an_unknown_key_is_refused(market: Market, store: Store, acquirer: Acquirer) -> None:
    """formats.md 4.4: nothing is trusted on first use."""
    market.publish(key=SecretKey.generate())
    refused(acquirer, store, market.source("expert-sql"), "4.4", "not trusted.*expert-cli trust add")


def test_a_key_of_another_publisher_or_name_is_refused(market: Market, store: Store, acquirer: Acquirer) -> None:
    """formats.md 4.4: keys are bound to a publisher and to name patterns."""
    other = SecretKey.generate()
    add_key(store.home.trust, other.public, publisher="example", names=["expert-acme-*"])
    market.publish(key=other)
    refused(acquirer, store, market.source("expert-sql"), "4.4", "may sign expert-acme")


def test_a_revoked_key_is_refused(market: Market, store: Store, acquirer: Acquirer) -> None:
    """formats.md 4.4: and a revoked key can never be trusted again."""
    market.publish()
    revoke_key(store.home.trust, market.key.public.keyid, "lost laptop")
    refused(acquirer, store, market.source("expert-sql"), "4.4", "revoked.*lost laptop")


def test_an_expired_key_is_refused(market: Market, tmp_path: Path) -> None:
    """formats.md 4.4: the key is not expired."""
    market.publish()
    store = market.store(tmp_path / "other", trusted=False)
    add_key(
        store.home.trust, market.key.public, publisher="example", names=["expert-*"], expires_at="2020-01-01T00:00:00Z"
    )
    refused(Acquirer(store), store, market.source("expert-sql"), "4.4", "expired at 2020")


def test_a_tag_that_is_not_the_version_is_refused(market: Market, store: Store, acquirer: Acquirer) -> None:
    """formats.md 4.5: tag, manifest version and statement version agree."""
    market.publish(version="1.0.0", tag="v2.0.0")
    refused(acquirer, store, market.source("expert-sql"), "4.5", "tag v2.0.0 holds version 1.0.0")


def test_the_statement_of_a_dev_install_is_never_valid(market: Market, store: Store, acquirer: Acquirer) -> None:
    """formats.md 4: `--dev` stays the only way for unverified content."""
    folder = market.publish()
    dev = store.install_dev(folder.rename(folder.parent / "plain"))
    forged = market.repository("forged")
    shutil.copytree(dev.path, forged)
    with pytest.raises(VerificationError, match="unsigned"):
        acquirer.install([Source(location=str(forged))])
    payload = read_envelope((forged / SIGNATURE_FILE).read_bytes()).payload
    (forged / SIGNATURE_FILE).chmod(0o644)
    (forged / SIGNATURE_FILE).write_bytes(sign_payload(payload, market.key).encode())
    refused(acquirer, store, Source(location=str(forged)), "4.5", "install --dev")


def test_shapes_that_lie_about_the_declared_base_are_refused(market: Market, store: Store, acquirer: Acquirer) -> None:
    """formats.md 4.6, 2.4: tensors must have the shapes of the base that the manifest binds to."""
    wide = make_base(market.folder / "wide" / "tiny", hidden=32)

    def lie(folder: Path) -> None:
        make_expert(folder, wide)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["base_models"][0]["base_digest"] = market.base.binding
        (folder / "manifest.json").write_text(json.dumps(manifest))

    market.publish(before_signing=lie)
    refused(acquirer, store, market.source("expert-sql"), "4.6", "shape.*base's config need")


def test_an_expert_for_another_base_is_stored_and_says_which_base_it_wants(market: Market, tmp_path: Path) -> None:
    """formats.md 4.6: stored but not loadable."""
    market.publish()
    store = market.store(tmp_path / "bare", with_base=False)
    outcome = Acquirer(store).install([market.source("expert-sql")])
    assert ["expert-sql"] == [expert.manifest.name for expert in outcome.installed]
    assert ["tiny"] == [base.name for base in outcome.installed[0].manifest.base_models]
    assert [] == store.home.installed_bases()


def test_an_older_version_than_the_highest_accepted_is_refused(
    market: Market, store: Store, acquirer: Acquirer
) -> None:
    """formats.md 4.7: a downgrade must be asked for."""
    market.publish(version="1.0.0")
    market.publish(version="1.1.0")
    acquirer.install([market.source("expert-sql")])
    store.uninstall("expert-sql")
    refused(acquirer, store, market.source("expert-sql", "==1.0.0"), "4.7", "older than 1.1.0.*--allow-downgrade")
    outcome = acquirer.install([market.source("expert-sql", "==1.0.0")], allow_downgrade=True)
    assert ["1.0.0"] == [expert.manifest.version for expert in outcome.installed]


def test_a_moved_tag_is_refused_for_ever(market: Market, store: Store, acquirer: Acquirer) -> None:
    """formats.md 4.8: the same version with another digest, even after the expert was uninstalled."""
    market.publish(seed=1)
    acquirer.install([market.source("expert-sql")])
    market.publish(seed=2)
    refused(acquirer, store, market.source("expert-sql"), "4.8", "tag was moved")
    store.uninstall("expert-sql")
    refused(acquirer, store, market.source("expert-sql"), "4.8", "tag was moved")


def test_bytes_changed_in_the_store_are_refused_when_read_and_the_expert_is_quarantined(
    market: Market, store: Store, acquirer: Acquirer
) -> None:
    """formats.md 4.9: every cold load hashes the bytes it parses."""
    market.publish()
    expert = acquirer.install([market.source("expert-sql")]).installed[0]
    weights = weights_of(expert.path)
    flip_one_byte(weights)
    with pytest.raises(IntegrityError, match=r"adapter_model\.safetensors"):
        expert.read(str(weights.relative_to(expert.path)))
    with pytest.raises(UnknownExpert):
        store.find("sql")
    repaired = acquirer.install([market.source("expert-sql")])
    assert expert.digest == repaired.installed[0].digest
    assert store.find("sql").read(str(weights.relative_to(expert.path)))


def test_stored_files_cannot_be_written_by_accident(market: Market, store: Store, acquirer: Acquirer) -> None:
    """formats.md 7.1: a stored package is never edited."""
    market.publish()
    expert = acquirer.install([market.source("expert-sql")]).installed[0]
    assert all(not (expert.path / path).stat().st_mode & 0o222 for path in expert.files)


def test_only_verify_makes_a_verified_package(market: Market) -> None:
    """design.md: trust is a type."""
    with pytest.raises(TypeError, match="only verify"):
        VerifiedPackage(Fetched(root=market.folder, source="here"), object())  # type: ignore[arg-type]


def test_submodules_and_hooks_of_a_repository_are_ignored(market: Market, store: Store, acquirer: Acquirer) -> None:
    """formats.md 5.3: nothing is executed from a repository."""
    folder = market.publish()
    hook = folder / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {market.folder}/pwned\n")
    hook.chmod(0o755)
    commit = git(folder, "rev-parse", "HEAD").strip()
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{commit},module")
    git(folder, "commit", "--quiet", "--message", "module")
    git(folder, "tag", "--force", "--annotate", "v1.0.0", "--message", "moved before anybody looked")
    assert acquirer.install([market.source("expert-sql")]).installed
    assert not (market.folder / "pwned").exists()

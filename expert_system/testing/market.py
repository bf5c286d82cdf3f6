"""A marketplace on disk: real git repositories of tiny experts, signed with a real key.

Market(folder).publish("expert-sql", version="1.0.0") -> a tag that a Store which trusts the market can install
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from expert_system.marketplace.sources import Source
from expert_system.marketplace.store import Store
from expert_system.marketplace.trust import add_key
from expert_system.package.base import BaseDescription
from expert_system.package.files import SIGNATURE_FILE
from expert_system.package.keys import SecretKey
from expert_system.package.signing import sign_folder
from expert_system.package.weights import WEIGHTS_FILE
from expert_system.testing.expert import make_base, make_expert

PUBLISHER = "example"
_GIT_IDENTITY = {
    "GIT_AUTHOR_NAME": "Example",
    "GIT_AUTHOR_EMAIL": "example@example.invalid",
    "GIT_COMMITTER_NAME": "Example",
    "GIT_COMMITTER_EMAIL": "example@example.invalid",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
}


class Market:
    """A publisher with a key, a base, and one repository for each expert."""

    def __init__(self, folder: Path) -> None:
        """Make the publisher; repositories come with `publish`."""
        self.folder = folder
        self.key = SecretKey.generate()
        self.base: BaseDescription = make_base(folder / "base" / "tiny")

    def repository(self, name: str) -> Path:
        """The work tree of one expert, which is also what its location is."""
        return self.folder / "repositories" / name

    def source(self, name: str, wanted: str = "*") -> Source:
        """Where to install an expert from."""
        return Source(location=str(self.repository(name)), range=wanted)

    def store(self, home: Path, *, trusted: bool = True, with_base: bool = True) -> Store:
        """A node's store that trusts this publisher and has its base."""
        if with_base:
            shutil.copytree(self.base.path, home / "bases" / "tiny", dirs_exist_ok=True)
        store = Store(home)
        if trusted:
            add_key(store.home.trust, self.key.public, publisher=PUBLISHER, names=["expert-*"])
        return store

    def publish(
        self,
        name: str = "expert-sql",
        version: str = "1.0.0",
        *,
        key: SecretKey | None = None,
        before_signing: Callable[[Path], None] | None = None,
        after_signing: Callable[[Path], None] | None = None,
        signed: bool = True,
        tag: str | None = None,
        **manifest: Any,
    ) -> Path:
        """Commit and tag one version; returns the repository.

        Args:
            name: the expert's full name.
            version: its version.
            key: instead of the market's own.
            before_signing: changes the work tree before it is signed.
            after_signing: changes it afterwards, as somebody who lacks the key would.
            signed: whether it is signed at all.
            tag: instead of `v` and the version; an existing tag is moved.
            manifest: what `testing.expert.make_expert` takes.
        """
        folder = self.repository(name)
        fresh = not folder.exists()
        seed = manifest.pop("seed", sum(int(part) * 100**i for i, part in enumerate(version.split("."))))
        make_expert(folder, self.base, name=name, version=version, publisher=PUBLISHER, seed=seed, **manifest)
        if before_signing:
            before_signing(folder)
        (folder / SIGNATURE_FILE).unlink(missing_ok=True)
        if signed:
            sign_folder(folder, key or self.key, allow_unproven=True)
        if after_signing:
            after_signing(folder)
        if fresh:
            git(folder, "init", "--quiet", "--initial-branch=main")
        git(folder, "add", "--all", "--force")
        git(folder, "commit", "--quiet", "--allow-empty", "--message", f"{name} {version}")
        git(folder, "tag", "--force", "--annotate", tag or f"v{version}", "--message", version)
        return folder


def flip_one_byte(file: Path) -> None:
    """Change the last byte of a file, whatever it is."""
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)


def weights_of(package: Path) -> Path:
    """The one weights file of a tiny expert."""
    return next(package.rglob(WEIGHTS_FILE))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder: for saying that nothing changed."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def git(folder: Path, *arguments: str) -> str:
    """Run git without the machine's own settings."""
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | _GIT_IDENTITY)
    return done.stdout

"""The run folder of one engine: where its processes share host files.

    first process makes it -> EXPERT_RUN_FOLDER -> its children inherit the name -> the first process removes it

It lies in shared memory where there is some, so that a mapped expert costs no disk read. Only this user can enter it.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from expert_system.errors import AdapterRefused

VARIABLE = "EXPERT_RUN_FOLDER"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a private folder is made in it, with a name nobody can guess
_PREFIX = "expert-system-"
_NAME = re.compile(rf"{_PREFIX}(\d+)-.*")


def get() -> Path:
    """This engine's run folder; made on first use, which must be in the process that starts the others."""
    folder = os.environ.get(VARIABLE)
    return Path(folder) if folder else _make()


def _make() -> Path:
    parent = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    _sweep(parent)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=f"{_PREFIX}{os.getpid()}-"))
    os.environ[VARIABLE] = str(folder)
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove what engines left that were killed."""
    for folder in parent.glob(f"{_PREFIX}*"):
        found = _NAME.fullmatch(folder.name)
        if found and folder.stat().st_uid == os.getuid() and not Path(f"/proc/{found[1]}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def bind(name: str, key: str) -> None:
    """Remember that this name means this content, for every process and as long as the engine lives.

    The prefix cache and the workers know an adapter by its name, so changed content under a known name would be
    served with the old content's cache.

    Raises:
        AdapterRefused: it meant something else before.
    """
    record = get() / f"{hashlib.sha256(name.encode()).hexdigest()}.known"
    try:
        descriptor = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if record.read_text() != key:
            path = name.partition("\n")[2]
            raise AdapterRefused(
                f"{path} changed on disk since it was first loaded; load it under another name and id"
            ) from None
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(key)

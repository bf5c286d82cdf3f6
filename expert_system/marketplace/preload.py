"""Tells running servers what was installed: load the new, let go of the replaced.

    current experts + what a server holds -> Load, Load, …;  replaced versions -> Unload, once no request uses them

Promise: the decision is a pure function; a server that is down or full makes no round fail.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from expert_system.errors import ExpertSystemError, Overloaded
from expert_system.marketplace.state import Status
from expert_system.marketplace.store import Store
from expert_system.package.stored import StoredExpert
from expert_system.package.weights import WEIGHTS_FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One expert as a server sees it."""

    digest: str
    loaded: bool
    loadable: bool


class Server(Protocol):
    """A running server; `app` and the command line hand in the gRPC client."""

    @property
    def target(self) -> str:
        """Where it listens."""

    def held(self) -> Sequence[Held]:
        """Its installed experts."""

    def load(self, reference: str) -> None:
        """Bring `NAME@VERSION` into its memory.

        Raises:
            Overloaded: it has no room.
        """

    def unload(self, reference: str) -> None:
        """Free `NAME@VERSION`; refused while a request uses it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one server was told in one round."""

    loaded: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    """Replaced versions that requests still use."""
    problems: tuple[str, ...] = ()


def tell(server: Server, store: Store, *, budget_bytes: int, retired: Collection[str] = ()) -> Told:
    """Bring one server up to date with the store.

    Args:
        server: the server.
        store: its store; the server reads the same one.
        budget_bytes: stored size of all weights that may be preloaded.
        retired: replaced versions that this server let go of already.
    """
    loaded: list[str] = []
    problems: list[str] = []
    try:
        held = {entry.digest: entry for entry in server.held()}
    except ExpertSystemError as error:
        return Told(problems=(f"{server.target}: {error}",))
    fitting = [e for e in store.experts() if e.verified and (h := held.get(e.digest)) is not None and h.loadable]
    for expert in choose(fitting, budget_bytes):
        if held[expert.digest].loaded:
            continue
        try:
            server.load(_reference(expert))
        except Overloaded:
            break  # full is as good as the budget reached
        except ExpertSystemError as error:
            problems.append(f"{server.target}: {_reference(expert)}: {error}")
        else:
            loaded.append(_reference(expert))
    gone: list[str] = []
    waiting: list[str] = []
    for record in store.records():
        if record.verified and record.status is Status.REPLACED:
            reference = f"{record.name}@{record.version}"
            if reference in retired:
                continue
            try:
                server.unload(reference)
                gone.append(reference)
            except ExpertSystemError:
                waiting.append(reference)
    return Told(loaded=tuple(loaded), retired=tuple(gone), waiting=tuple(waiting), problems=tuple(problems))


def choose(experts: Sequence[StoredExpert], budget_bytes: int) -> list[StoredExpert]:
    """The experts to keep in memory: by routing priority, then by name, as long as the budget lasts."""
    chosen: list[StoredExpert] = []
    left = budget_bytes
    for expert in sorted(experts, key=lambda e: (-e.manifest.routing.priority, e.manifest.name)):
        size = weights_bytes(expert)
        if size <= left:
            chosen.append(expert)
            left -= size
    return chosen


def weights_bytes(expert: StoredExpert) -> int:
    """Stored size of an expert's weights."""
    return sum((expert.path / path).stat().st_size for path in expert.files if path.endswith(WEIGHTS_FILE))


def _reference(expert: StoredExpert) -> str:
    return f"{expert.manifest.name}@{expert.manifest.version}"

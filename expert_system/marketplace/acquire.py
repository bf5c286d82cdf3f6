"""Install, update, roll back: from what the owner asks for to verified packages, the lock and the list of sources.

    asked -> resolve -> fetch + verify -> store -> experts.lock -> sources.json

Promise: everything is verified before anything is installed; the lock is written after the packages it names are there,
so that a crash leaves a lock that can be carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from expert_system.domain import expert_name
from expert_system.errors import ExpertSystemError, MarketplaceError, UnknownExpert
from expert_system.marketplace.books import absolute, held_versions, lock_entry, others, precedence, wanted_from
from expert_system.marketplace.lock import Lock, Locked, read_lock, write_lock
from expert_system.marketplace.market import Market
from expert_system.marketplace.resolve import Candidate, Catalogue, Requirement, resolve
from expert_system.marketplace.sources import Source, SourcesFile, Wanted, read_sources, write_sources
from expert_system.marketplace.staging import Staging
from expert_system.marketplace.state import Record, Status
from expert_system.marketplace.store import Store
from expert_system.package.stored import StoredExpert


class Refreshable(Protocol):
    """An index that can be fetched and verified."""

    name: str

    def refresh(self) -> Catalogue:
        """What it lists now.

        Raises:
            MarketplaceError: it cannot be reached or trusted.
        """


Indexes = Callable[[], Sequence[Refreshable]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an installation did."""

    installed: tuple[StoredExpert, ...] = ()
    """New on this node, requirements included."""
    kept: tuple[Record, ...] = ()
    """Already there; those that were replaced before are current again."""
    failed: tuple[tuple[str, ExpertSystemError], ...] = ()
    """Experts of an update that stay as they were, and why."""


class Acquirer:
    """Carries out what the owner of a node asks for; one lock file."""

    def __init__(self, store: Store, *, lock: Path | None = None, indexes: Indexes = tuple) -> None:
        """Join the parts.

        Args:
            store: where verified packages go.
            lock: the lock file; `$EXPERT_HOME/experts.lock` when None.
            indexes: the indexes that this node follows; asked once for each operation.
        """
        self._store = store
        self._home = store.home
        self._lock = lock or store.home.lock
        self._indexes = indexes

    def install(self, asked: Sequence[Source], *, allow_downgrade: bool = False) -> Outcome:
        """Install experts and everything they require; they are followed from then on.

        Raises:
            ExpertSystemError: nothing was installed.
        """
        with self._store.locked("experts.lock"), Staging(self._home) as staging:
            sources = read_sources(self._home.sources)
            market = self._market(staging, sources, allow_downgrade=allow_downgrade)
            wanted: list[Wanted] = []
            for source in map(absolute, asked):
                name = expert_name(source.location) if source.is_name else market.probe(source)
                wanted.append(wanted_from(name, source, sources))
            outcome = self._carry_out(market, wanted, prefer=others(read_lock(self._lock), wanted))
            for entry in wanted:
                sources = sources.with_expert(entry)
            self._write_sources(sources)
            return outcome

    def install_locked(self, lock: Path | None = None, *, mirrors: Sequence[tuple[str, str]] = ()) -> Outcome:
        """Install exactly what a lock names.

        Args:
            lock: the lock to carry out; the node's own when None. Another one becomes the node's own.
            mirrors: pairs of location prefixes; a source that starts with the first is fetched from the second instead.

        Raises:
            ExpertSystemError: an entry could not be reproduced; the entries before it are installed.
        """
        with self._store.locked("experts.lock"), Staging(self._home) as staging:
            wanted = read_lock(lock or self._lock)
            market = Market(self._store, staging, locations={}, allow_downgrade=True)
            found = [self._locked_candidate(entry, mirrors) for entry in wanted.experts]
            outcome = self._settle(market, found)
            self._write_lock(wanted)
            return outcome

    def update(self, names: Iterable[str] = (), *, tolerant: bool = False) -> Outcome:
        """Bring named experts, or all followed ones, to the highest version that fits.

        Args:
            names: only these; naming one ends what `rollback` held.
            tolerant: keep what cannot be updated as it is, and report it, instead of stopping.

        Raises:
            ExpertSystemError: unless tolerant; nothing was changed.
        """
        with self._store.locked("experts.lock"), Staging(self._home) as staging:
            sources = read_sources(self._home.sources)
            chosen = {expert_name(name) for name in names}
            unknown = chosen - {entry.name for entry in sources.experts}
            for name in sorted(unknown):
                raise UnknownExpert(name)
            for entry in [entry for entry in sources.experts if entry.name in chosen and entry.held]:
                sources = sources.with_expert(entry.model_copy(update={"held": None}))
            wanted = [entry for entry in sources.experts if (entry.name in chosen if chosen else entry.held is None)]
            broken: list[tuple[str, ExpertSystemError]] = []
            market = self._market(staging, sources, broken=broken if tolerant else None)
            lock = read_lock(self._lock)
            prefer = {entry.name: entry.version for entry in lock.experts} if chosen else held_versions(sources)
            prefer = {name: version for name, version in prefer.items() if name not in chosen}
            outcome = self._update(market, wanted, prefer, tolerant=tolerant)
            outcome = replace(outcome, failed=(*broken, *outcome.failed))
            self._write_sources(sources)
            return outcome

    def rollback(self, name: str, version: str | None = None) -> StoredExpert:
        """Go back to the version before the locked one, or to a named one, and stay there until `update NAME`.

        Raises:
            MarketplaceError: no such version is stored any more.
        """
        full = expert_name(name)
        with self._store.locked("experts.lock"):
            lock = read_lock(self._lock)
            entry = lock.get(full)
            if entry is None:
                raise UnknownExpert(full)
            now = precedence(entry.version)
            stored = [
                r for r in self._store.records_of(full)
                if r.verified and r.status is not Status.QUARANTINED and r.version != entry.version
            ]  # fmt: skip
            fitting = [r for r in stored if (r.version == version if version else r.precedence < now)]
            if not fitting:
                have = ", ".join(sorted(r.version for r in stored)) or "none"
                raise MarketplaceError(
                    f"no earlier version of {full} is stored (there: {have}); "
                    f"run `expert-cli install SOURCE@VERSION --allow-downgrade`"
                )
            target = max(fitting, key=lambda record: record.precedence)
            expert = self._store.make_current(target.digest)
            write_lock(self._lock, lock.replaced(lock_entry(target)))
            sources = read_sources(self._home.sources)
            held = [e.model_copy(update={"held": target.version}) for e in sources.experts if e.name == full]
            for followed in held:
                sources = sources.with_expert(followed)
            write_sources(self._home.sources, sources)
            return expert

    def forget(self, names: Iterable[str]) -> None:
        """Follow and lock some experts no longer; `uninstall` calls this."""
        with self._store.locked("experts.lock"):
            full = {expert_name(name) for name in names}
            lock = read_lock(self._lock)
            for name in full:
                lock = lock.without(name)
            write_lock(self._lock, lock)
            write_sources(self._home.sources, read_sources(self._home.sources).without_experts(full))

    def _update(self, market: Market, wanted: Sequence[Wanted], prefer: dict[str, str], *, tolerant: bool) -> Outcome:
        try:
            return self._carry_out(market, wanted, prefer=prefer)
        except ExpertSystemError:
            if not tolerant:
                raise
        done = Outcome()
        for entry in wanted:
            try:
                one = self._carry_out(market, [entry], prefer=prefer)
            except ExpertSystemError as error:
                done = replace(done, failed=(*done.failed, (entry.name, error)))
            else:
                done = replace(done, installed=(*done.installed, *one.installed), kept=(*done.kept, *one.kept))
        return done

    def _carry_out(self, market: Market, wanted: Sequence[Wanted], *, prefer: dict[str, str]) -> Outcome:
        """Resolve, fetch and verify everything, then install, then write the lock."""
        asked = [Requirement(name=entry.name, range=entry.range) for entry in wanted]
        chosen = resolve(asked, market, preferred=prefer, bases=market.bases)
        outcome = self._settle(market, list(chosen.values()))
        self._write_lock(
            read_lock(self._lock).replaced(
                *(lock_entry(record) for record in outcome.kept),
                *(lock_entry(self._store.record(expert.digest)) for expert in outcome.installed),
            )
        )
        return outcome

    def _settle(self, market: Market, candidates: Sequence[Candidate]) -> Outcome:
        known = {candidate: market.stored(candidate) for candidate in candidates}
        packages = [market.package(candidate) for candidate, digest in known.items() if digest is None]
        installed = tuple(self._store.install(package) for package in packages)
        kept: list[Record] = []
        for candidate, digest in known.items():
            record = self._store.record(digest) if digest is not None else None
            if record is None:
                continue
            if record.status is not Status.CURRENT:
                self._store.make_current(record.digest)
            if record.yanked != candidate.yanked:
                self._store.mark_yanked(record.digest, yanked=candidate.yanked)
            kept.append(record)
        return Outcome(installed=installed, kept=tuple(kept))

    def _write_lock(self, lock: Lock) -> None:
        if lock != read_lock(self._lock):
            write_lock(self._lock, lock)

    def _write_sources(self, sources: SourcesFile) -> None:
        if sources != read_sources(self._home.sources):
            write_sources(self._home.sources, sources)

    def _market(
        self,
        staging: Staging,
        sources: SourcesFile,
        *,
        allow_downgrade: bool = False,
        broken: list[tuple[str, ExpertSystemError]] | None = None,
    ) -> Market:
        """The catalogue of an operation; an index that fails is left out when `broken` collects failures."""
        catalogues: list[Catalogue] = []
        for index in self._indexes():
            try:
                catalogues.append(index.refresh())
            except MarketplaceError as error:
                if broken is None:
                    raise
                broken.append((f"index {index.name}", error))
        locations = {
            entry.name: Source(location=entry.location, range=entry.range, commit_id=entry.commit_id)
            for entry in sources.experts
            if not Source(location=entry.location).is_name
        }
        return Market(self._store, staging, locations=locations, indexes=catalogues, allow_downgrade=allow_downgrade)

    def _locked_candidate(self, entry: Locked, mirrors: Sequence[tuple[str, str]]) -> Candidate:
        source = entry.source
        for prefix, instead in mirrors:
            if source.startswith(prefix):
                source = instead + source[len(prefix) :]
        return Candidate(
            name=entry.name,
            version=entry.version,
            source=source,
            tag=entry.tag,
            commit_id=entry.commit,
            digest=entry.digest,
            keyid=entry.keyid,
        )

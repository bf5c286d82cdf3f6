"""Which versions go together: requires, incompatible_with, base and yanked, solved at once (formats.md 6.1).

    wanted + catalogue -> resolvelib -> Candidate for each name, or the chain that makes it impossible

Promise: pure but for the catalogue it is handed; a conflict names every expert that takes part in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from resolvelib import AbstractProvider, BaseReporter, ResolutionImpossible, Resolver
from resolvelib.resolvers import ResolutionTooDeep
from semantic_version import SimpleSpec, Version

from expert_system.domain import MAX_EXPERTS
from expert_system.errors import MarketplaceError
from expert_system.package.fields import split_range

MAX_ROUNDS = 5_000


class Unresolvable(MarketplaceError):
    """No choice of versions satisfies everything that was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One version of one expert that could be installed."""

    name: str
    version: str
    source: str
    tag: str | None = None
    commit_id: str | None = None
    digest: str | None = None
    """None while only a direct repository has named it."""
    keyid: str | None = None
    yanked: bool = False
    bases: frozenset[str] | None = None
    """Digests of the bases it was trained for; None while unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What one version needs of others."""

    requires: tuple[str, ...] = ()
    incompatible_with: tuple[str, ...] = ()


class Catalogue(Protocol):
    """Where candidates come from."""

    def versions(self, name: str) -> Sequence[Candidate]:
        """Every version of an expert that could be installed."""

    def rules(self, candidate: Candidate) -> Rules:
        """What it needs; a direct repository is fetched and verified for this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """An expert must be there, within a range; or, when `excluded`, must not be there within it."""

    name: str
    range: str
    excluded: bool = False

    def allows(self, version: str) -> bool:
        """Whether a version satisfies it."""
        return bool(SimpleSpec(self.range).match(Version(version)) != self.excluded)

    def __str__(self) -> str:
        """As a manifest writes it."""
        return f"{self.name}@{self.range}"


def resolve(
    wanted: Sequence[Requirement],
    catalogue: Catalogue,
    *,
    preferred: Mapping[str, str],
    bases: frozenset[str] = frozenset(),
) -> dict[str, Candidate]:
    """Choose one version of every wanted expert and of everything they require.

    Each wanted expert is solved with its own requirements, since experts exclude each other only where they run
    together; where two of them choose different versions of a third, all are solved as one.

    Args:
        wanted: what was asked for.
        catalogue: what there is.
        preferred: versions to keep where possible, by name: those of the lock.
        bases: digests of this node's bases; where some version fits one, versions that fit none are not chosen.

    Raises:
        Unresolvable: a conflict, a cycle, or more than ten experts that would load together.
    """
    chosen: dict[str, Candidate] = {}
    for requirement in wanted:
        found = _solve([requirement], catalogue, preferred, bases)
        _check_together(requirement.name, found, catalogue)
        if any(chosen.get(name, candidate) != candidate for name, candidate in found.items()):
            chosen = _solve(wanted, catalogue, preferred, bases)
            for other in wanted:
                _check_together(other.name, chosen, catalogue)
            return chosen
        chosen |= found
    return chosen


def _solve(
    wanted: Sequence[Requirement], catalogue: Catalogue, preferred: Mapping[str, str], bases: frozenset[str]
) -> dict[str, Candidate]:
    provider = _Provider(catalogue, preferred, bases)
    try:
        result = Resolver(provider, BaseReporter()).resolve(list(wanted), max_rounds=MAX_ROUNDS)
    except ResolutionImpossible as error:
        raise Unresolvable(provider.explain(error.causes)) from None
    except ResolutionTooDeep:
        raise Unresolvable(f"no solution found within {MAX_ROUNDS} rounds; ask for narrower ranges") from None
    return {name: candidate for name, candidate in result.mapping.items() if candidate.version != _ABSENT}


_ABSENT = ""
"""The version of the candidate that stands for "not there", which satisfies exclusions only."""


class _Provider(AbstractProvider[Requirement, Candidate, str]):
    """resolvelib's questions, answered from a catalogue."""

    def __init__(self, catalogue: Catalogue, preferred: Mapping[str, str], bases: frozenset[str]) -> None:
        self._catalogue = catalogue
        self._preferred = preferred
        self._bases = bases
        self._needed_by: dict[str, Candidate] = {}

    def identify(self, requirement_or_candidate: Requirement | Candidate) -> str:
        """Both are known by the expert's name."""
        return requirement_or_candidate.name

    def get_preference(
        self,
        identifier: str,
        resolutions: Mapping[str, Candidate],
        candidates: Mapping[str, Iterator[Candidate]],
        information: Mapping[str, Iterator[Any]],
        backtrack_causes: Sequence[Any],
    ) -> tuple[bool, str]:
        """Exclusions last, then by name, so that equal questions get equal answers."""
        needed = any(not entry.requirement.excluded for entry in information[identifier])
        return not needed, identifier

    def find_matches(
        self,
        identifier: str,
        requirements: Mapping[str, Iterator[Requirement]],
        incompatibilities: Mapping[str, Iterator[Candidate]],
    ) -> list[Candidate]:
        """The candidates that satisfy everything so far, best first."""
        asked = list(requirements[identifier])
        refused = {candidate.version for candidate in incompatibilities[identifier]}
        if all(requirement.excluded for requirement in asked):
            return [] if _ABSENT in refused else [Candidate(name=identifier, version=_ABSENT, source="")]
        fitting = [
            candidate
            for candidate in self._catalogue.versions(identifier)
            if candidate.version not in refused
            and all(requirement.allows(candidate.version) for requirement in asked)
            and self._may_be_chosen(candidate)
        ]
        on_a_base = [c for c in fitting if c.bases is None or c.bases & self._bases]
        return sorted(on_a_base or fitting, key=self._rank, reverse=True)

    def is_satisfied_by(self, requirement: Requirement, candidate: Candidate) -> bool:
        """Whether a candidate is what a requirement asks for."""
        if candidate.version == _ABSENT:
            return requirement.excluded
        return requirement.allows(candidate.version)

    def get_dependencies(self, candidate: Candidate) -> Iterable[Requirement]:
        """What one version needs, and what it must not be with."""
        if candidate.version == _ABSENT:
            return []
        rules = self._catalogue.rules(candidate)
        found = [_requirement(text) for text in rules.requires]
        for requirement in found:
            self._needed_by.setdefault(requirement.name, candidate)
        return [*found, *(_requirement(text, excluded=True) for text in rules.incompatible_with)]

    def explain(self, causes: Iterable[Any]) -> str:
        """The chain behind a conflict, each expert with who asked for it."""
        told: list[str] = []
        for cause in causes:
            who = f"{cause.parent.name}@{cause.parent.version}" if cause.parent else "you"
            verb = "cannot be with" if cause.requirement.excluded else "requires" if cause.parent else "asked for"
            line = f"{who} {verb} {cause.requirement}{self._chain(cause.parent)}"
            if line not in told:
                told.append(line)
        names = {cause.requirement.name for cause in causes}
        have = "; ".join(f"of {name} there is {self._available(name)}" for name in sorted(names))
        return f"these cannot all be satisfied: {'; '.join(told)} ({have})"

    def _chain(self, candidate: Candidate | None) -> str:
        links: list[str] = []
        while candidate is not None and (parent := self._needed_by.get(candidate.name)) is not None:
            links.append(f"{parent.name}@{parent.version}")
            if len(links) > MAX_EXPERTS:
                break
            candidate = parent
        return f" (required by {', by '.join(links)})" if links else ""

    def _available(self, name: str) -> str:
        found = [f"{c.version}{' (yanked)' if c.yanked else ''}" for c in self._catalogue.versions(name)]
        return ", ".join(found) or "none in any source; add its repository or index"

    def _may_be_chosen(self, candidate: Candidate) -> bool:
        return not candidate.yanked or self._preferred.get(candidate.name) == candidate.version

    def _rank(self, candidate: Candidate) -> tuple[bool, Version]:
        return self._preferred.get(candidate.name) == candidate.version, Version(candidate.version)


def _requirement(text: str, *, excluded: bool = False) -> Requirement:
    name, spec = split_range(text)
    return Requirement(name=name, range=str(spec), excluded=excluded)


def _check_together(root: str, chosen: Mapping[str, Candidate], catalogue: Catalogue) -> None:
    """An expert and all it requires load together: no cycle, at most ten."""
    seen: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise Unresolvable(
                f"experts require each other in a circle: {' -> '.join((*path[path.index(name) :], name))}"
            )
        if name not in seen:
            seen.append(name)
        if len(seen) > MAX_EXPERTS:
            raise Unresolvable(
                f"{root} and all it requires are more than {MAX_EXPERTS} experts, and no more load together: {', '.join(seen)}"
            )
        for text in catalogue.rules(chosen[name]).requires:
            visit(split_range(text)[0], (*path, name))

    visit(root, ())

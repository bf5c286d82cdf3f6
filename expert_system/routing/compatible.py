"""Which experts go together: the rules of a plan, as pure functions on a catalogue.

    forced, ranked by score -> + what they require -> rules, budget, measured harm -> members in load order

Promise: whatever is returned holds every requirement of its members, none of their conflicts, no set that was measured
to do harm, and fits every limit; members are in load order, and the same input gives the same set.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from semantic_version import Version

from expert_system.domain import MAX_EXPERTS, Digest, ExpertRef
from expert_system.errors import IncompatibleSet, InvalidRequest, UnknownExpert, WrongBase
from expert_system.package.binding import AdapterType
from expert_system.routing.catalog import Catalogue, Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What bounds a plan besides the manifests."""

    max_experts: int = MAX_EXPERTS
    base: Digest | None = None
    """The base that is served; None leaves bases out of it."""
    max_rank: int | None = None
    """Most ranks that a set may need."""
    exclude: frozenset[str] = frozenset()
    harmful: frozenset[frozenset[Digest]] = frozenset()
    """Sets that were measured to hurt one another; no plan holds one of them whole."""
    threshold: float = 0.5
    """What the first expert must score."""
    second_threshold: float = 0.5
    """What every further one must score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """An expert and its score."""

    name: str
    score: float


@dataclass(slots=True, kw_only=True)
class Fitted:
    """The experts of a plan while it grows, and why others were left out."""

    members: dict[str, Entry] = field(default_factory=dict)
    because: dict[str, str] = field(default_factory=dict)
    """Why a member that was neither ranked nor forced is in."""
    left_out: dict[str, str] = field(default_factory=dict)

    def in_load_order(self) -> tuple[Entry, ...]:
        """Format, language, tech, domain, task; equals by name, as the engine orders them."""
        return tuple(
            sorted(self.members.values(), key=lambda entry: (entry.manifest.composition.load_order, entry.name))
        )


def fit(catalogue: Catalogue, forced: Sequence[ExpertRef], ranked: Iterable[Ranked], rules: Rules) -> Fitted:
    """Build the set.

    Args:
        catalogue: every expert that there is.
        forced: what the caller insists on.
        ranked: experts with their scores, best first.
        rules: limits, base, exclusions, measured harm.

    Raises:
        UnknownExpert, WrongBase, IncompatibleSet, InvalidRequest: what the caller insists on cannot be had.
    """
    fitted = Fitted()
    for reference in forced:
        _force(fitted, catalogue, reference, rules)
    for candidate in ranked:
        entry = catalogue.find(candidate.name)
        if entry is None or entry.name in fitted.members:
            continue
        problem = (
            _scores_too_low(candidate.score, fitted, rules)
            or unusable(entry, rules)
            or redundant(entry, fitted.members.values())
            or _join(fitted, catalogue, entry, rules)
        )
        if problem:
            fitted.left_out[entry.name] = problem
    return fitted


def unusable(entry: Entry, rules: Rules) -> str:
    """Why an expert cannot be in any plan; empty when it can."""
    if entry.name in rules.exclude:
        return "excluded by the caller"
    if rules.base is not None and entry.manifest.binding_for(rules.base) is None:
        return "trained for another base"
    return ""


def redundant(entry: Entry, members: Collection[Entry]) -> str:
    """Why an expert adds nothing to those chosen already; empty when it adds something."""
    own = frozenset(entry.manifest.capabilities)
    brought: set[str] = set()
    for member in members:
        theirs = frozenset(member.manifest.capabilities)
        brought |= theirs
        kind = f"{entry.manifest.composition.category}:"
        same = member.manifest.composition.category is entry.manifest.composition.category
        shared = sorted(found for found in own & theirs if found.startswith(kind))
        if same and (shared or not own):
            return f"{member.name} serves {shared[0] if shared else kind.rstrip(':')} already"
    if members and own <= brought and own:
        return f"brings nothing that {', '.join(sorted(member.name for member in members))} lack"
    return ""


def _scores_too_low(score: float, fitted: Fitted, rules: Rules) -> str:
    if not fitted.members:
        return f"scores {score:.2f}, below the threshold of {rules.threshold:.2f}" if score < rules.threshold else ""
    if score < rules.second_threshold:
        return f"scores {score:.2f}; a further expert needs {rules.second_threshold:.2f}"
    return ""


def _force(fitted: Fitted, catalogue: Catalogue, reference: ExpertRef, rules: Rules) -> None:
    entry = catalogue.find(reference.name)
    if entry is None or reference.version not in {None, entry.manifest.version}:
        raise UnknownExpert(reference.name, reference.version)
    if entry.name in rules.exclude:
        raise InvalidRequest("routing.force", f"{entry.name} is excluded as well; choose one of the two")
    problem = unusable(entry, rules)
    if problem:
        raise WrongBase(f"{entry.name} cannot be forced: it was {problem} than the one that is served")
    if entry.name in fitted.members:
        return
    problem = _join(fitted, catalogue, entry, rules)
    if problem:
        raise IncompatibleSet(f"{entry.name} cannot be forced: {problem}")


def _join(fitted: Fitted, catalogue: Catalogue, entry: Entry, rules: Rules) -> str:
    """Add an expert with all that it requires, or say why not and change nothing."""
    together = dict(fitted.members)
    because: dict[str, str] = {}
    problem = _with_requirements(entry, together, because, catalogue, rules)
    if not problem:
        problem = next((found for rule in _SET_RULES if (found := rule(together, rules))), "")
    if problem:
        return problem
    fitted.members = together
    fitted.because |= because
    return ""


def _with_requirements(
    entry: Entry, together: dict[str, Entry], because: dict[str, str], catalogue: Catalogue, rules: Rules
) -> str:
    """Put an expert and, one after the other, what is required into `together`; a circle ends where it began."""
    waiting = [entry]
    while waiting:
        current = waiting.pop()
        together[current.name] = current
        for name, spec in current.requires:
            found = together.get(name) or catalogue.find(name)
            if found is None:
                return f"requires {name}, which is not installed"
            if Version(found.manifest.version) not in spec:
                return f"requires {name}@{spec}, but {found.manifest.version} is there"
            problem = unusable(found, rules)
            if problem:
                return f"requires {name}, which is {problem}"
            if name not in together:
                because[name] = f"required by {current.name}"
                waiting.append(found)
                if len(together) + len(waiting) > MAX_EXPERTS:
                    return f"requires more than {MAX_EXPERTS} experts"
    return ""


def _conflicts(together: Mapping[str, Entry], rules: Rules) -> str:
    for entry in together.values():
        for other in together.values():
            if entry is not other and entry.excludes(other):
                return f"{entry.name} is incompatible with {other.name}"
    return ""


def _harm(together: Mapping[str, Entry], rules: Rules) -> str:
    names = {entry.digest: entry.name for entry in together.values()}
    hurting = sorted(sorted(names[digest] for digest in found) for found in rules.harmful if found <= names.keys())
    return f"{' and '.join(hurting[0])} were measured to hurt each other" if hurting else ""


def _size(together: Mapping[str, Entry], rules: Rules) -> str:
    most = min(rules.max_experts, MAX_EXPERTS)
    if len(together) > most:
        return f"no room: at most {most} experts are allowed"
    for entry in together.values():
        if len(together) > entry.manifest.composition.max_chain:
            return f"{entry.name} runs in sets of at most {entry.manifest.composition.max_chain}"
    return ""


def _rank(together: Mapping[str, Entry], rules: Rules) -> str:
    if rules.base is None or rules.max_rank is None:
        return ""
    total = sum(rank_of(entry, rules.base) for entry in together.values())
    return f"the set would need rank {total}; a slot holds {rules.max_rank}" if total > rules.max_rank else ""


_SET_RULES: tuple[Callable[[Mapping[str, Entry], Rules], str], ...] = (_conflicts, _harm, _size, _rank)
"""Each names the first problem of a whole set, or is empty."""


def rank_of(entry: Entry, base: Digest) -> int:
    """Ranks that an expert needs on a base."""
    binding = entry.manifest.binding_for(base)
    adapters = binding.adapters if binding is not None else ()
    return sum(adapter.r or 0 for adapter in adapters if adapter.type in {AdapterType.LORA, AdapterType.DORA})

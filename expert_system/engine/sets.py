"""Fit experts into the one set that a request runs with.

    experts + weights -> rules -> load order -> ExpertSet -> sets/<digest>.json

Promise: the same experts and weights give the same digest whatever order the caller named them in, and a set
that breaks a rule is refused here, before the engine hears of it. Pure but for `SetFiles`; torch-free.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import rfc8785
from semantic_version import SimpleSpec, Version

from expert_system.domain import (
    MAX_EXPERTS,
    Digest,
    ExpertSet,
    Member,
    PlannedExpert,
    check_weight,
)
from expert_system.engine.interface import ServedBase
from expert_system.errors import IncompatibleSet, InvalidRequest, Overloaded, WrongBase
from expert_system.package.binding import AdapterType, BaseBinding
from expert_system.package.stored import StoredExpert

SCHEMA = "expert-set/1"
"""First key of every set file; changes when the meaning of a set changes."""

_RANKED = (AdapterType.LORA, AdapterType.DORA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """A set that passed every rule, and its members as the plan shows them."""

    expert_set: ExpertSet
    planned: tuple[PlannedExpert, ...]
    virtual_tokens: int
    """Tokens that the set's soft prompts put before the prompt."""


def compose(experts: Sequence[tuple[StoredExpert, float | None]], *, base: ServedBase) -> Composed:
    """Order, check and name a set.

    Args:
        experts: each expert once, with the caller's weight or None for the manifest's own.
        base: what is served; gives the digest to bind to and the rank limit.

    Raises:
        InvalidRequest: too many experts, one named twice, a weight out of range.
        WrongBase: an expert was not trained for this base.
        IncompatibleSet: a `requires` or `incompatible_with` of a manifest is not met, or a set too long for a member.
        Overloaded: the ranks do not fit into a slot; the sum is spelled out.
    """
    if len(experts) > MAX_EXPERTS:
        raise InvalidRequest("experts", f"{len(experts)} experts; at most {MAX_EXPERTS} can run together")
    ordered = sorted(experts, key=lambda pair: (pair[0].manifest.composition.load_order, pair[0].manifest.name))
    _each_once([expert for expert, _ in ordered])
    bindings = [binding_for(expert, base) for expert, _ in ordered]
    _rules([expert for expert, _ in ordered])
    _ranks_fit(list(zip([expert for expert, _ in ordered], bindings, strict=True)), base.max_rank)

    planned = tuple(_planned(expert, weight) for expert, weight in ordered)
    for (expert, _), entry, binding in zip(ordered, planned, bindings, strict=True):
        check_weight(expert.manifest.name, entry.weight)
        if entry.weight != 1.0 and _soft_tokens(binding):
            raise InvalidRequest(
                "experts",
                f"{entry.name} is a soft prompt, which has no weight; use it with weight 1, not {entry.weight:g}",
            )
    members = tuple(Member(expert=entry.digest, weight=entry.weight) for entry in planned)
    return Composed(
        expert_set=ExpertSet(digest=_digest(base.digest, members), base=base.digest, members=members),
        planned=planned,
        virtual_tokens=sum(_soft_tokens(binding) for binding in bindings),
    )


def binding_for(expert: StoredExpert, base: ServedBase) -> BaseBinding:
    """The manifest entry that binds the expert to this base (formats.md 1.3, 4.6).

    Raises:
        WrongBase: there is none; the message names the bases that it wants.
    """
    found = expert.manifest.binding_for(base.digest)
    if found is not None:
        return found
    wanted = ", ".join(f"{entry.name} ({entry.base_digest[:12]})" for entry in expert.manifest.base_models)
    raise WrongBase(
        f"{expert.manifest.name} was trained for {wanted}; this server runs {base.name} ({base.digest[:12]})"
    )


def set_bytes(base: Digest, members: Sequence[Member]) -> bytes:
    """The canonical bytes of a set (RFC 8785); their sha256 is its identity."""
    return rfc8785.dumps(
        {
            "schema": SCHEMA,
            "base": base,
            "members": [{"expert": member.expert, "weight": float(member.weight)} for member in members],
        }
    )


class SetFiles:
    """Where sets lie for the engine's processes: `$EXPERT_HOME/sets/<set digest>.json` (vllm.md, Decided 2)."""

    def __init__(self, home: Path) -> None:
        """Use the folder below this home; it is made on the first write."""
        self._folder = home / "sets"

    def path(self, digest: Digest) -> Path:
        """Where the set with this digest lies; constant, since it is part of the prefix cache's key."""
        return self._folder / f"{digest}.json"

    def write(self, expert_set: ExpertSet) -> Path:
        """Write the set aside and rename it; a set that is there already is left alone."""
        target = self.path(expert_set.digest)
        content = set_bytes(expert_set.base, expert_set.members)
        if target.exists() and target.read_bytes() == content:
            return target
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor, aside = tempfile.mkstemp(dir=self._folder, prefix=".set-")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(aside).replace(target)
        return target


def _digest(base: Digest, members: Sequence[Member]) -> Digest:
    return Digest(hashlib.sha256(set_bytes(base, members)).hexdigest())


def _planned(expert: StoredExpert, weight: float | None) -> PlannedExpert:
    manifest = expert.manifest
    return PlannedExpert(
        name=manifest.name,
        version=manifest.version,
        digest=expert.digest,
        weight=manifest.composition.weight if weight is None else weight,
        category=manifest.composition.category,
        load_order=manifest.composition.load_order,
        verified=expert.verified,
    )


def _each_once(experts: Sequence[StoredExpert]) -> None:
    seen: dict[str, str] = {}
    for expert in experts:
        name, version = expert.manifest.name, expert.manifest.version
        if name in seen:
            versions = f" (versions {seen[name]} and {version})" if seen[name] != version else ""
            raise InvalidRequest("experts", f"{name} occurs twice{versions}; name it once and give it a weight")
        seen[name] = version


def _rules(experts: Sequence[StoredExpert]) -> None:
    """Dependencies and conflicts of the manifests, both ways (formats.md 1.6)."""
    versions = {expert.manifest.name: Version(expert.manifest.version) for expert in experts}
    for expert in experts:
        composition, name = expert.manifest.composition, expert.manifest.name
        for requirement in composition.requires:
            other, spec = _requirement(requirement)
            if other not in versions:
                raise IncompatibleSet(f"{name} requires {requirement}; add {other} to the request")
            if versions[other] not in spec:
                raise IncompatibleSet(f"{name} requires {requirement}, but the set has {other}@{versions[other]}")
        for conflict in composition.incompatible_with:
            other, spec = _requirement(conflict)
            if other in versions and versions[other] in spec:
                raise IncompatibleSet(f"{name} is incompatible with {conflict}; leave one of the two out")
        if len(experts) > composition.max_chain:
            raise IncompatibleSet(
                f"{name} runs in sets of at most {composition.max_chain} (its max_chain); this one has {len(experts)}"
            )


def _requirement(text: str) -> tuple[str, SimpleSpec]:
    name, _, spec = text.partition("@")
    return name, SimpleSpec(spec or "*")


def _ranks_fit(bound: Sequence[tuple[StoredExpert, BaseBinding]], max_rank: int) -> None:
    ranks = [
        (expert.manifest.name, adapter.r or 0)
        for expert, binding in bound
        for adapter in binding.adapters
        if adapter.type in _RANKED
    ]
    total = sum(rank for _, rank in ranks)
    if total > max_rank:
        spelled = " + ".join(f"{rank} ({name})" for name, rank in ranks)
        raise Overloaded(f"the set needs rank {spelled} = {total}, but a slot holds {max_rank} (max_lora_rank)")


def _soft_tokens(binding: BaseBinding) -> int:
    return sum(
        adapter.num_virtual_tokens or 0 for adapter in binding.adapters if adapter.type is AdapterType.SOFT_PROMPT
    )

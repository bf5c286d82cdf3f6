"""The router: one prompt in, the experts for it out, in milliseconds on one core.

    text -> read_prompt -> cache? -> encoder -> features -> scores -> rules -> Routing

Promise: `route` never raises for any text, only for what the caller insists on and cannot have; the same input under
the same catalogue gives the same plan; experts installed meanwhile are found after `refresh`, without retraining.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass

from expert_system import telemetry
from expert_system.domain import MAX_EXPERTS, Digest, RouteWish, Routing, Sampling
from expert_system.routing.cache import DecisionCache, key_of
from expert_system.routing.catalog import Catalogue, Entry, Vectors
from expert_system.routing.compatible import Rules
from expert_system.routing.descriptors import NOT_KEPT, Kept, embedded
from expert_system.routing.interface import Encoder
from expert_system.routing.parameters import described, suggestion
from expert_system.routing.plan import Decision, decide
from expert_system.routing.prompt import read_prompt
from expert_system.routing.score import Calibration

CACHED_DECISIONS = 4096
NO_SAMPLING = Sampling()
NO_WISH = RouteWish()

Harmful = frozenset[frozenset[Digest]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the router learns of experts, as functions; all of them may block."""

    entries: Callable[[], Sequence[Entry]]
    """Every expert that may be chosen, each name once."""
    revision: Callable[[], Hashable] = lambda: 0
    """Changes whenever the others would answer anew; cheap."""
    harmful: Callable[[], Mapping[Digest, Harmful]] = dict
    """By base: the sets that were measured to hurt one another on it."""
    kept: Kept = NOT_KEPT
    """Where embedded descriptors are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The experts as they were at one moment."""

    revision: Hashable
    catalogue: Catalogue
    vectors: Mapping[Digest, Vectors]
    """The embedded descriptors of its experts, so that only new ones are read or computed."""
    harmful: Mapping[Digest, Harmful]
    signed: bool
    """Whether somebody verified any of them."""

    @property
    def identity(self) -> tuple[str, Mapping[Digest, Harmful]]:
        """What a decision can depend on."""
        return self.catalogue.digest, self.harmful

    def harm_on(self, base: Digest | None) -> Harmful:
        """What was measured on a base; on any, where the base is not known."""
        if base is not None:
            return self.harmful.get(base, frozenset())
        return frozenset().union(*self.harmful.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedLimits:
    """What the engine that the plan is for can run."""

    base: Digest | None = None
    """None leaves bases out of it."""
    max_rank: int | None = None


NO_LIMITS = ServedLimits()


class Router:
    """Chooses experts for prompts."""

    def __init__(
        self,
        encoder: Encoder,
        calibration: Calibration,
        source: Source,
        *,
        max_experts: int = MAX_EXPERTS,
        cached: int = CACHED_DECISIONS,
    ) -> None:
        """Join the parts; `refresh` must run once before the first prompt.

        Args:
            encoder: reads prompts and descriptors.
            calibration: learned for this encoder.
            source: where experts come from.
            max_experts: the server's limit.
            cached: decisions that are kept.
        """
        self._encoder = encoder
        self._calibration = calibration
        self._source = source
        self._max_experts = min(max_experts, MAX_EXPERTS)
        self._cache: DecisionCache[Decision] = DecisionCache(cached)
        self._refreshing = threading.Lock()
        self._now = Snapshot(revision=None, catalogue=Catalogue((), {}), vectors={}, harmful={}, signed=False)

    @property
    def version(self) -> str:
        """The router model's version."""
        return self._calibration.version

    @property
    def experts(self) -> int:
        """How many experts there are to choose from."""
        return len(self._now.catalogue)

    @property
    def has_signed(self) -> bool:
        """Whether any of them was verified."""
        return self._now.signed

    @property
    def weighs_residency(self) -> bool:
        """Whether it matters to the scores what the engine holds."""
        return self._calibration.weights[self._calibration.features.index("resident")] != 0.0

    def refresh(self) -> bool:
        """Take in what was installed, removed or measured since; True when anything changed. May take seconds."""
        with self._refreshing:
            revision = self._source.revision()
            if revision == self._now.revision:
                return False
            entries = self._source.entries()
            before = self._now
            new = [entry for entry in entries if entry.digest not in before.vectors]
            vectors = {**before.vectors, **embedded(new, self._encoder, self._source.kept)}
            vectors = {entry.digest: vectors[entry.digest] for entry in entries}
            self._now = Snapshot(
                revision=revision,
                catalogue=Catalogue(entries, vectors),
                vectors=vectors,
                harmful=self._source.harmful(),
                signed=any(entry.verified for entry in entries),
            )
            changed = before.revision is None or self._now.identity != before.identity
            if changed:
                telemetry.catalogue(len(entries), self._now.catalogue.digest)
            return changed

    def route(
        self,
        text: str,
        wish: RouteWish = NO_WISH,
        *,
        sampling: Sampling = NO_SAMPLING,
        served: ServedLimits = NO_LIMITS,
        resident: Collection[Digest] = frozenset(),
        request_id: str = "",
    ) -> Routing:
        """Choose experts for one prompt; blocks for milliseconds, so call it in a thread.

        Args:
            text: the prompt, of any size and content.
            wish: what the caller wants of the plan.
            sampling: what the caller set, for the origin of each parameter.
            served: what the engine can run.
            resident: digests of experts that the engine holds.
            request_id: for the log.

        Raises:
            RequestError: what the caller forces cannot be had.
        """
        started = time.perf_counter()
        now = self._now
        prompt = read_prompt(text)
        rules = Rules(
            max_experts=self._max_experts if wish.max_experts is None else min(wish.max_experts, self._max_experts),
            base=served.base,
            max_rank=served.max_rank,
            exclude=frozenset(wish.exclude),
            harmful=now.harm_on(served.base),
            threshold=self._calibration.threshold,
            second_threshold=self._calibration.second_threshold,
        )
        held = sorted(resident) if self.weighs_residency else []
        key = key_of(_matters(prompt.text, rules, wish, now, self.version, held))
        decision = self._cache.get(key)
        cached = decision is not None
        if decision is None:
            reading = self._encoder.read(prompt.asked) if prompt.asks and rules.max_experts and now.catalogue else None
            decision = decide(
                prompt, reading, now.catalogue, self._calibration, rules, forced=wish.force, resident=frozenset(held)
            )
            self._cache.put(key, decision)
        routing = self._routing(decision, sampling, now)
        telemetry.route(request_id, routing, seconds=time.perf_counter() - started, cached=cached)
        return routing

    def _routing(self, decision: Decision, sampling: Sampling, now: Snapshot) -> Routing:
        suggested = suggestion(decision.manifests)
        return Routing(
            experts=decision.experts,
            rejected=decision.rejected,
            reasons=decision.reasons,
            parameters=described(sampling, decision.manifests, suggested),
            suggested=suggested.sampling,
            router_version=self.version,
            encoder_digest=self._encoder.digest,
            catalogue_digest=now.catalogue.digest,
        )


def _matters(
    text: str, rules: Rules, wish: RouteWish, now: Snapshot, version: str, held: Sequence[Digest]
) -> tuple[str, ...]:
    """Everything that a decision depends on, as texts."""
    harmful = sorted(" ".join(sorted(found)) for found in rules.harmful)
    return (
        text,
        f"{rules.max_experts} {rules.base} {rules.max_rank}",
        " ".join(str(reference) for reference in wish.force),
        " ".join(sorted(rules.exclude)),
        "\n".join(harmful),
        now.catalogue.digest,
        version,
        " ".join(held),
    )

"""Measure what experts do to each other: each one's own cases alone and in company, and cases that need two of them.

    members + joint cases -> sets -> questions -> verdicts -> changes, the worst loss of every set, matrix

Promise: a change is counted case by case on the same cases, every set is asked through the served engine, and a set's
worst loss is that of the member that suffers most.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

from expert_system.errors import ConfigError
from expert_system.training.answers import Question
from expert_system.training.cases import JOINT_FOLDER, read_cases
from expert_system.training.checkers import check
from expert_system.training.scoring import gain, interval, scores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from expert_system.package.evidence import Interval
    from expert_system.training.answers import AnswerBook, Asked
    from expert_system.training.cases import Case
    from expert_system.training.validate import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One expert of the set, and the cases that are its own."""

    subject: Subject
    load_order: int
    cases: tuple[Case, ...]
    sha256: str
    """Of the file that its cases come from."""
    weight: float | None = None
    """In company; None is its own."""

    @property
    def name(self) -> str:
        """Its full name."""
        return self.subject.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """Cases that need two members."""

    pair: tuple[str, str]
    cases: tuple[Case, ...]
    sha256: str


Names = tuple[str, ...]
"""A set of members, sorted by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """One member's own cases, alone and in one set."""

    expert: str
    together: Names
    alone_score: Interval
    together_score: Interval
    change: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class JointResult:
    """The joint cases of a pair: each member alone, and both."""

    pair: tuple[str, str]
    cases: int
    sha256: str
    singles: Mapping[str, Interval]
    together_score: Interval
    change: Interval
    """Over the member that does better alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All that a composition test found."""

    own: tuple[Own, ...]
    joint: tuple[JointResult, ...]
    refused: int
    """Requests that the server refused; they count as wrong."""

    def worst_loss(self, together: Names) -> float:
        """The largest drop of a member's own score in a set; below 0 when all gain."""
        return max(-own.change.value for own in self.own if own.together == together)

    @property
    def sets(self) -> tuple[Names, ...]:
        """Every set that was measured, pairs first."""
        return tuple(dict.fromkeys(own.together for own in self.own))


def sample(cases: Sequence[Case], count: int) -> tuple[Case, ...]:
    """At most so many cases, spread evenly over all of them."""
    if len(cases) <= count:
        return tuple(cases)
    return tuple(cases[index * len(cases) // count] for index in range(count))


def find_joint(folders: Mapping[str, Path]) -> tuple[Joint, ...]:
    """The joint cases that the members bring: `tests/joint/<other>.jsonl` in either's folder, or both.

    Args:
        folders: of each member, by full name.

    Raises:
        PackageError: a file is not in the format of cases.
    """
    found: list[Joint] = []
    for one, other in combinations(sorted(folders), 2):
        places = [folders[one] / JOINT_FOLDER / f"{other}.jsonl", folders[other] / JOINT_FOLDER / f"{one}.jsonl"]
        for place in places:
            if place.is_file():
                cases = read_cases(place)
                found.append(Joint(pair=(one, other), cases=cases.cases, sha256=cases.sha256))
    return tuple(found)


def sets_of(members: Sequence[Member]) -> tuple[Names, ...]:
    """Every pair, and the whole set when it is more than a pair."""
    names = tuple(sorted(member.name for member in members))
    return (*combinations(names, 2), *((names,) if len(names) > 2 else ()))


class CompositionTest:
    """One composition test: what it asks, and what it makes of the answers."""

    def __init__(self, members: Sequence[Member], joint: Sequence[Joint], *, max_tokens: int) -> None:
        """Prepare the questions.

        Args:
            members: two or more, each once.
            joint: the cases of pairs.
            max_tokens: of each answer, at most.

        Raises:
            ConfigError: a member is there twice, or alone.
        """
        self.members = {member.name: member for member in members}
        if len(self.members) != len(members) or len(members) < 2:
            raise ConfigError("--experts needs two or more different experts, separated by commas")
        self.sets = sets_of(members)
        self._joint = joint
        self._max_tokens = max_tokens

    @property
    def weights(self) -> dict[str, float]:
        """What those members weigh in company that do not have their own weight there."""
        return {name: member.weight for name, member in self.members.items() if member.weight is not None}

    def questions(self) -> dict[str, list[Question]]:
        """Everything to ask, by who answers; a question may stand there twice."""
        asked: dict[str, list[Question]] = {}
        for cases, together in self._runs():
            asked.setdefault(" + ".join(together), []).extend(self._question(case, together) for case in cases)
        return asked

    def judge(self, book: AnswerBook) -> Measured:
        """Check every answer.

        Raises:
            ConfigError: a question has no answer; a test never leaves one out.
        """
        own: list[Own] = []
        for together in self.sets:
            for name in together:
                cases = self.members[name].cases
                alone, company = self._scores(cases, (name,), book), self._scores(cases, together, book)
                own.append(
                    Own(
                        expert=name,
                        together=together,
                        alone_score=interval(alone),
                        together_score=interval(company),
                        change=gain(company, alone),
                    )
                )
        replies = [book.get(q) for questions in self.questions().values() for q in questions]
        refused = sum(reply is not None and bool(reply.refused) for reply in replies)
        return Measured(
            own=tuple(own), joint=tuple(self._joined(joint, book) for joint in self._joint), refused=refused
        )

    def _runs(self) -> list[tuple[Sequence[Case], Names]]:
        """Which cases every set answers."""
        runs: list[tuple[Sequence[Case], Names]] = []
        for name, member in self.members.items():
            runs += [(member.cases, (name,)), *((member.cases, together) for together in self.sets if name in together)]
        for joint in self._joint:
            runs += [(joint.cases, (joint.pair[0],)), (joint.cases, (joint.pair[1],)), (joint.cases, joint.pair)]
        return runs

    def _question(self, case: Case, together: Names) -> Question:
        subjects = [self.members[name].subject for name in together]
        return Question(
            messages=case.messages,
            base_digest=subjects[0].base_digest,
            dtype=subjects[0].dtype,
            experts=tuple(self._asked(name, alone=len(together) == 1) for name in together),
            max_tokens=self._max_tokens,
        )

    def _asked(self, name: str, *, alone: bool) -> Asked:
        asked, weight = self.members[name].subject.asked, self.members[name].weight
        return asked if alone or weight is None else replace(asked, reference=f"{asked.reference}={weight:g}")

    def _scores(self, cases: Sequence[Case], together: Names, book: AnswerBook) -> list[float]:
        found = [book.get(self._question(case, together)) for case in cases]
        texts = [reply.text for reply in found if reply is not None]
        if len(texts) != len(cases):
            raise ConfigError(
                f"{len(cases) - len(texts)} questions to {' + '.join(together)} have no answer; run again"
            )
        return scores([check(case.kind, case, text) for case, text in zip(cases, texts, strict=True)])

    def _joined(self, joint: Joint, book: AnswerBook) -> JointResult:
        alone = {name: self._scores(joint.cases, (name,), book) for name in joint.pair}
        company = self._scores(joint.cases, joint.pair, book)
        better = max(joint.pair, key=lambda name: sum(alone[name]))
        return JointResult(
            pair=joint.pair,
            cases=len(joint.cases),
            sha256=joint.sha256,
            singles={name: interval(found) for name, found in alone.items()},
            together_score=interval(company),
            change=gain(company, alone[better]),
        )

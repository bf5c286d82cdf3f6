"""The rules of a plan, as properties over made-up catalogues and as single cases."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from semantic_version import Version

from expert_system.domain import MAX_EXPERTS, Category, Digest, ExpertRef
from expert_system.errors import IncompatibleSet, InvalidRequest, UnknownExpert, WrongBase
from expert_system.routing.catalog import Catalogue, Entry
from expert_system.routing.compatible import Fitted, Ranked, Rules, fit, rank_of
from tests.routing.entries import BASE, make_catalogue, make_entry

OTHER_BASE = Digest("c" * 64)
LETTERS = "abcdefghijklmn"


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Catalogue, list[Ranked], Rules]:
    """A catalogue with requirements and conflicts at random, scores, and rules."""
    names = list(LETTERS[: draw(st.integers(1, len(LETTERS)))])
    others = st.lists(st.sampled_from(names), max_size=2, unique=True)
    entries = []
    for name in names:
        relations: dict[str, Any] = {
            "requires": [f"expert-{o}@>=1.0.0" for o in draw(others) if o != name],
            "incompatible_with": [f"expert-{o}" for o in draw(others) if o != name],
            "max_chain": draw(st.integers(1, MAX_EXPERTS)),
        }
        category = draw(st.sampled_from(list(Category))).value
        capability = draw(st.sampled_from([[], [f"{category}:x"], [f"{category}:{name}"], ["task:x"]]))
        base = draw(st.sampled_from([BASE, BASE, BASE, OTHER_BASE]))
        rank = draw(st.integers(1, 32))
        entries.append(make_entry(name, category=category, capabilities=capability, base=base, rank=rank, **relations))
    catalogue = make_catalogue(entries)
    scores = {name: draw(st.floats(0, 1)) for name in catalogue.names}
    ranked = [Ranked(name=name, score=scores[name]) for name in sorted(scores, key=lambda n: -scores[n])]
    digests = [entry.digest for entry in catalogue.entries]
    pairs = st.lists(st.lists(st.sampled_from(digests), min_size=2, max_size=3, unique=True), max_size=3)
    rules = Rules(
        max_experts=draw(st.integers(0, 12)),
        base=BASE,
        max_rank=draw(st.integers(1, 128)),
        exclude=frozenset(f"expert-{name}" for name in draw(others)),
        harmful=frozenset(map(frozenset, draw(pairs))) if len(digests) > 1 else frozenset(),
        threshold=0.3,
        second_threshold=draw(st.floats(0.3, 0.9)),
    )
    return catalogue, ranked, rules


@given(worlds())
def test_a_plan_breaks_no_rule_and_is_the_same_twice(world: tuple[Catalogue, list[Ranked], Rules]) -> None:
    """Requirements met, conflicts and harm avoided, limits kept, excluded and foreign experts out, in load order."""
    catalogue, ranked, rules = world
    fitted = fit(catalogue, (), ranked, rules)
    members = fitted.in_load_order()
    versions = {entry.name: Version(entry.manifest.version) for entry in members}

    assert len(members) <= min(rules.max_experts, MAX_EXPERTS)
    assert rules.max_rank is not None
    assert sum(rank_of(entry, BASE) for entry in members) <= rules.max_rank
    assert not rules.exclude & versions.keys()
    for entry in members:
        assert entry.manifest.binding_for(BASE) is not None
        assert len(members) <= entry.manifest.composition.max_chain
        assert all(name in versions and versions[name] in spec for name, spec in entry.requires)
        assert not any(entry.excludes(other) for other in members)
    assert not any(harm <= {entry.digest for entry in members} for harm in rules.harmful)
    orders = [(entry.manifest.composition.load_order, entry.name) for entry in members]
    assert sorted(orders) == orders
    again = fit(catalogue, (), ranked, rules)
    assert (fitted.members.keys(), fitted.left_out) == (again.members.keys(), again.left_out)


@given(worlds())
def test_whoever_is_in_scored_enough_or_is_required(world: tuple[Catalogue, list[Ranked], Rules]) -> None:
    """The first over the threshold, further ones over the second; everybody left out has a reason."""
    catalogue, ranked, rules = world
    scores = {candidate.name: candidate.score for candidate in ranked}
    fitted = fit(catalogue, (), ranked, rules)

    chosen = [name for name in fitted.members if name not in fitted.because]
    assert all(scores[name] >= rules.threshold for name in chosen)
    assert len([name for name in chosen if scores[name] < rules.second_threshold]) <= 1
    assert {candidate.name for candidate in ranked} == fitted.members.keys() | fitted.left_out.keys()
    assert all(fitted.left_out.values())


@given(worlds(), st.sampled_from(LETTERS))
def test_what_is_forced_is_in_or_the_request_is_refused(
    world: tuple[Catalogue, list[Ranked], Rules], letter: str
) -> None:
    """Never a plan without it."""
    catalogue, ranked, rules = world
    try:
        fitted = fit(catalogue, [ExpertRef(name=letter)], ranked, rules)
    except (IncompatibleSet, InvalidRequest, UnknownExpert, WrongBase):
        return

    assert f"expert-{letter}" in fitted.members


def fitted(entries: list[Entry], *ranked: str, forced: str = "", **rules: Any) -> Fitted:
    """Fit with falling scores from 0.9."""
    catalogue = make_catalogue(entries)
    candidates = [Ranked(name=f"expert-{name}", score=0.9 - 0.01 * n) for n, name in enumerate(ranked)]
    references = [ExpertRef.parse(forced)] if forced else []
    return fit(catalogue, references, candidates, Rules(**rules))


def test_what_an_expert_requires_comes_along() -> None:
    """Through several steps, with the reason."""
    found = fitted(
        [make_entry("a", requires=["expert-b"]), make_entry("b", requires=["expert-c"]), make_entry("c")], "a"
    )

    assert ["expert-a", "expert-b", "expert-c"] == [entry.name for entry in found.in_load_order()]
    assert "required by expert-b" == found.because["expert-c"]


@pytest.mark.parametrize(
    ("entries", "rules", "reason"),
    [
        ([make_entry("a", requires=["expert-b"])], {}, "requires expert-b, which is not installed"),
        ([make_entry("a", requires=["expert-b@>=2.0.0"]), make_entry("b")], {}, "requires expert-b@>=2.0.0, but 1.0.0"),
        (
            [make_entry("a", requires=["expert-b"]), make_entry("b")],
            {"exclude": frozenset({"expert-b"})},
            "requires expert-b, which is excluded",
        ),
        ([make_entry("a", base=OTHER_BASE)], {"base": BASE}, "trained for another base"),
        ([make_entry("a", rank=64)], {"base": BASE, "max_rank": 32}, "would need rank 64; a slot holds 32"),
        ([make_entry("a")], {"max_experts": 0}, "no room"),
        ([make_entry("a", requires=["expert-b"], max_chain=1), make_entry("b")], {}, "sets of at most 1"),
    ],
)
def test_an_expert_that_cannot_run_is_left_out_with_its_reason(
    entries: list[Entry], rules: dict[str, Any], reason: str
) -> None:
    """The plan goes on without it."""
    found = fitted(entries, "a", **rules)

    assert {} == found.members
    assert reason in found.left_out["expert-a"]


def test_the_next_best_takes_the_place_of_one_that_cannot_run() -> None:
    """A missing requirement of the winner is no reason to abstain."""
    found = fitted([make_entry("a", requires=["expert-x"]), make_entry("b")], "a", "b")

    assert ["expert-b"] == list(found.members)


def test_experts_that_were_measured_to_hurt_each_other_are_not_combined() -> None:
    """The better one stays."""
    one, two = make_entry("a", category="format"), make_entry("b")
    found = fitted([one, two], "a", "b", harmful=frozenset({frozenset({one.digest, two.digest})}))

    assert ["expert-a"] == list(found.members)
    assert "expert-a and expert-b were measured to hurt each other" == found.left_out["expert-b"]


def test_conflicts_count_in_both_directions() -> None:
    """Whichever manifest says so."""
    loser = make_entry("b", category="format", incompatible_with=["expert-a"])

    assert ["expert-a"] == list(fitted([make_entry("a"), loser], "a", "b").members)


def test_a_second_expert_must_add_something() -> None:
    """Two experts for the same technology are one too many; one for another kind of thing is welcome."""
    sql, other = make_entry("sql", capabilities=["tech:sql"]), make_entry("sql2", capabilities=["tech:sql", "tech:b"])
    json = make_entry("json", category="format", capabilities=["format:json"])
    found = fitted([sql, other, json], "sql", "sql2", "json")

    assert {"expert-sql", "expert-json"} == found.members.keys()
    assert "expert-sql serves tech:sql already" == found.left_out["expert-sql2"]


@pytest.mark.parametrize(
    ("forced", "rules", "error"),
    [
        ("nope", {}, UnknownExpert),
        ("a@2.0.0", {}, UnknownExpert),
        ("a", {"exclude": frozenset({"expert-a"})}, InvalidRequest),
        ("a", {"base": OTHER_BASE}, WrongBase),
        ("a", {"max_experts": 0}, IncompatibleSet),
    ],
)
def test_a_wish_that_cannot_be_had_is_refused(forced: str, rules: dict[str, Any], error: type[Exception]) -> None:
    """The caller insisted, so abstaining would be a wrong answer."""
    with pytest.raises(error, match=r"expert-(a|nope)"):
        fitted([make_entry("a")], forced=forced, **rules)

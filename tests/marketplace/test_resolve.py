"""Resolution: versions that go together, and conflicts that explain themselves."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from expert_system.marketplace.resolve import Candidate, Requirement, Rules, Unresolvable, resolve

BASE = frozenset({"base-a"})


class Listed:
    """A catalogue written as {name@version: (requires, incompatible_with)}."""

    def __init__(
        self,
        experts: dict[str, tuple[tuple[str, ...], tuple[str, ...]]],
        yanked: Sequence[str] = (),
        bases: dict[str, str] | None = None,
    ) -> None:
        self._rules = {key: Rules(requires=r, incompatible_with=i) for key, (r, i) in experts.items()}
        self._yanked = yanked
        self._bases = bases or {}

    def versions(self, name: str) -> list[Candidate]:
        """Every version of an expert."""
        return [
            Candidate(
                name=name,
                version=key.partition("@")[2],
                source="x",
                yanked=key in self._yanked,
                bases=frozenset({self._bases[key]}) if key in self._bases else None,
            )
            for key in self._rules
            if key.partition("@")[0] == name
        ]

    def rules(self, candidate: Candidate) -> Rules:
        """What it needs."""
        return self._rules[f"{candidate.name}@{candidate.version}"]


def chosen(catalogue: Listed, *wanted: str, preferred: dict[str, str] | None = None) -> set[str]:
    """The result as name@version."""
    asked = [Requirement(name=text.partition("@")[0], range=text.partition("@")[2] or "*") for text in wanted]
    found = resolve(asked, catalogue, preferred=preferred or {}, bases=BASE)
    return {f"{candidate.name}@{candidate.version}" for candidate in found.values()}


NONE: tuple[str, ...] = ()


def test_the_highest_versions_that_fit_are_chosen() -> None:
    """formats.md 6.1: requires is a range."""
    listed = Listed(
        {
            "expert-a@1.0.0": (("expert-b@>=1.0.0,<2.0.0",), NONE),
            "expert-b@1.0.0": (NONE, NONE),
            "expert-b@1.9.0": (NONE, NONE),
            "expert-b@1.10.0": (NONE, NONE),
            "expert-b@2.0.0": (NONE, NONE),
        }
    )
    assert {"expert-a@1.0.0", "expert-b@1.10.0"} == chosen(listed, "expert-a")


def test_a_lock_is_kept_where_it_fits() -> None:
    """formats.md 6.2: what was not asked for does not move."""
    listed = Listed(
        {"expert-a@1.0.0": (("expert-b",), NONE), "expert-b@1.0.0": (NONE, NONE), "expert-b@2.0.0": (NONE, NONE)}
    )
    assert "expert-b@1.0.0" in chosen(listed, "expert-a", preferred={"expert-b": "1.0.0"})


def test_an_older_version_is_taken_when_the_newest_excludes_another() -> None:
    """formats.md 6.1: requires and incompatible_with are solved together."""
    listed = Listed(
        {
            "expert-a@1.0.0": (("expert-b", "expert-c"), NONE),
            "expert-b@1.0.0": (NONE, NONE),
            "expert-b@2.0.0": (NONE, ("expert-c@*",)),
            "expert-c@1.0.0": (NONE, NONE),
        }
    )
    assert {"expert-a@1.0.0", "expert-b@1.0.0", "expert-c@1.0.0"} == chosen(listed, "expert-a")


def test_experts_that_exclude_each_other_can_both_be_installed() -> None:
    """Exclusion is about one request, not about one node."""
    listed = Listed({"expert-a@1.0.0": (NONE, ("expert-b@*",)), "expert-b@1.0.0": (NONE, NONE)})
    assert {"expert-a@1.0.0", "expert-b@1.0.0"} == chosen(listed, "expert-a", "expert-b")


def test_a_conflict_names_the_chain() -> None:
    """formats.md 6.1: a conflict prints the chain that causes it."""
    listed = Listed(
        {
            "expert-a@1.0.0": (("expert-b", "expert-c"), NONE),
            "expert-b@1.0.0": (("expert-d@<2.0.0",), NONE),
            "expert-c@1.0.0": (("expert-d@>=2.0.0",), NONE),
            "expert-d@1.0.0": (NONE, NONE),
            "expert-d@2.0.0": (NONE, NONE),
        }
    )
    with pytest.raises(Unresolvable) as caught:
        chosen(listed, "expert-a")
    text = str(caught.value)
    assert "expert-b@1.0.0 requires expert-d@<2.0.0 (required by expert-a@1.0.0)" in text
    assert "expert-c@1.0.0 requires expert-d@>=2.0.0 (required by expert-a@1.0.0)" in text
    assert "of expert-d there is 1.0.0, 2.0.0" in text


def test_a_circle_is_an_error() -> None:
    """formats.md 6.1: cycles are an error."""
    listed = Listed({"expert-a@1.0.0": (("expert-b",), NONE), "expert-b@1.0.0": (("expert-a",), NONE)})
    with pytest.raises(Unresolvable, match="circle: expert-a -> expert-b -> expert-a"):
        chosen(listed, "expert-a")


def test_more_than_ten_together_is_an_error() -> None:
    """formats.md 6.1: at most 10 experts load together."""
    experts: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
        f"expert-{n}@1.0.0": ((f"expert-{n + 1}",), NONE) for n in range(10)
    }
    experts["expert-10@1.0.0"] = (NONE, NONE)
    assert 10 == len(chosen(Listed(experts), "expert-1"))
    with pytest.raises(Unresolvable, match="more than 10"):
        chosen(Listed(experts), "expert-0")


def test_yanked_versions_are_hidden_unless_locked() -> None:
    """formats.md 5.2."""
    listed = Listed({"expert-a@1.0.0": (NONE, NONE), "expert-a@1.1.0": (NONE, NONE)}, yanked=["expert-a@1.1.0"])
    assert {"expert-a@1.0.0"} == chosen(listed, "expert-a")
    assert {"expert-a@1.1.0"} == chosen(listed, "expert-a", preferred={"expert-a": "1.1.0"})
    with pytest.raises(Unresolvable, match=r"1\.1\.0 \(yanked\)"):
        chosen(listed, "expert-a@>=1.1.0")


def test_a_version_for_a_base_of_this_node_comes_first() -> None:
    """formats.md 6.1: base is solved with the rest."""
    bases = {"expert-a@1.0.0": "base-a", "expert-a@2.0.0": "base-z"}
    listed = Listed({"expert-a@1.0.0": (NONE, NONE), "expert-a@2.0.0": (NONE, NONE)}, bases=bases)
    assert {"expert-a@1.0.0"} == chosen(listed, "expert-a")
    assert {"expert-a@2.0.0"} == chosen(listed, "expert-a@>=2.0.0"), "stored, but not loadable"

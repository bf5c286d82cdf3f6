"""The data of expert-classifier: one label fits, and no label of the test part was seen in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

from expert_system.training.dataset import TEST, TRAIN, VALIDATION, Part

EXPERT = "expert-classifier"


def labels(source: Mapping[str, Any]) -> set[str]:
    topics = {label for topic in source["topics"] for label in topic["labels"]}
    return topics | {label for scale in source["scales"] for label in scale["labels"]}


def texts(source: Mapping[str, Any]) -> set[str]:
    """Every phrase and sentence; "{fact}." alone is a frame of no words."""
    found = {*source["frames"]} - {"{fact}."}
    for topic in source["topics"]:
        found |= {*topic["things"], *topic["doing"], *topic["facts"]}
    for scale in source["scales"]:
        found |= {text for entries in scale["labels"].values() for text in entries}
    return found


def test_parts_share_no_label_and_no_phrase(sources_of: Callable[[str], Mapping[str, Any]]) -> None:
    """README: label sets are never seen in training, nor is what the texts say."""
    for one, other in combinations((TRAIN, VALIDATION, TEST), 2):
        assert set() == labels(sources_of(EXPERT)[one]) & labels(sources_of(EXPERT)[other])
        assert set() == texts(sources_of(EXPERT)[one]) & texts(sources_of(EXPERT)[other])


def test_an_answer_is_one_of_the_given_labels(parts_of: Callable[[str], Mapping[str, Part]]) -> None:
    """Spelled as in the request, among labels that differ."""
    for row in parts_of(EXPERT)[TEST].examples:
        given = row.prompt.splitlines()[0].removeprefix("Label the text with one of: ").split(", ")
        assert row.answer in given
        assert len(given) == len(set(given)) == int(row.tag("labels") or 0)


def test_the_place_of_the_right_label_says_nothing(parts_of: Callable[[str], Mapping[str, Part]]) -> None:
    """Of requests with three labels, each place is right about a third of the time."""
    rows = [row for row in parts_of(EXPERT)[TRAIN].examples if row.tag("labels") == "3"]
    rows = [row for row in rows if row.provenance["wording"] == 0]
    places = [row.prompt.splitlines()[0].partition(": ")[2].split(", ").index(row.answer) for row in rows]

    assert all(0.25 <= places.count(place) / len(places) <= 0.42 for place in range(3))


def test_a_phrase_belongs_to_one_topic(sources_of: Callable[[str], Mapping[str, Any]]) -> None:
    """A text that fits two labels has no right answer."""
    for source in sources_of(EXPERT).values():
        phrases = [
            phrase for topic in source["topics"] for key in ("things", "doing", "facts") for phrase in topic[key]
        ]
        assert len(phrases) == len(set(phrases))

"""Embedded descriptors are computed once and checked whenever they are read."""

from __future__ import annotations

from expert_system.domain import Digest
from expert_system.routing.catalog import MAX_EXAMPLES, MAX_NEGATIVES, descriptors_of
from expert_system.routing.descriptors import Kept, dumped, embedded, loaded
from expert_system.testing.router import FakeEncoder
from tests.routing.entries import make_entry

ENTRY = make_entry("a", examples=["one", "two"], negative_examples=["three"])


class Shelf:
    """Keeps bytes as `derived/` does."""

    def __init__(self) -> None:
        self.content: dict[tuple[Digest, Digest], bytes] = {}
        self.kept = Kept(
            read=lambda expert, encoder: self.content.get((expert, encoder)),
            write=lambda expert, encoder, content: self.content.update({(expert, encoder): content}),
        )


def test_descriptors_are_embedded_once() -> None:
    """Kept under the expert's and the encoder's digest; another encoder computes its own."""
    shelf, encoder = Shelf(), FakeEncoder()

    first = embedded([ENTRY], encoder, shelf.kept)[ENTRY.digest]
    again = embedded([ENTRY], encoder, shelf.kept)[ENTRY.digest]

    assert ["Does a.", "one", "two", "three"] == encoder.embedded
    assert (3, 1) == (len(first.positive), len(first.negative))
    assert (first.positive == again.positive).all()
    other = FakeEncoder(digest="f" * 64)
    embedded([ENTRY], other, shelf.kept)
    assert 4 == len(other.embedded)
    assert 2 == len(shelf.content)


def test_what_is_damaged_or_of_another_shape_is_computed_anew() -> None:
    """Cut short, random, of another dimension, of another manifest, not of unit length."""
    vectors = embedded([ENTRY], FakeEncoder(), Kept())[ENTRY.digest]
    good = dumped(vectors)

    assert loaded(good, ENTRY, 64) is not None
    assert loaded(good[:-20], ENTRY, 64) is None
    assert loaded(b"\x00" * 100, ENTRY, 64) is None
    assert loaded(b"", ENTRY, 64) is None
    assert loaded(good, ENTRY, 32) is None
    assert loaded(good, make_entry("b", examples=["one"]), 64) is None
    vectors.positive[0] *= 2
    assert loaded(dumped(vectors), ENTRY, 64) is None


def test_the_number_of_descriptors_is_bounded() -> None:
    """A manifest may hold two hundred examples; scoring looks at the first of them."""
    entry = make_entry("a", examples=[str(n) for n in range(200)], negative_examples=[str(n) for n in range(200)])

    positive, negative = descriptors_of(entry.manifest)

    assert (1 + MAX_EXAMPLES, MAX_NEGATIVES) == (len(positive), len(negative))


def test_keywords_are_one_descriptor() -> None:
    """They tell of more than a sentence does; an expert without any has no empty text."""
    described = [descriptors_of(make_entry("a", keywords=keywords).manifest)[0] for keywords in (["hive", "bee"], [])]

    assert [("Does a.", "please a", "hive, bee"), ("Does a.", "please a")] == described

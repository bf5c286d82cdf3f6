"""The excerpt of a prompt holds its wish, and never more than a bounded number of tokens."""

from __future__ import annotations

import time

import pytest

from expert_system.routing.windows import MAX_CHARS, SEGMENT_CHARS, asking, excerpt, within

STORY = "The train was late again and nobody said a word. " * 40


def test_a_short_text_is_read_whole() -> None:
    """Up to WHOLE_CHARS nothing is left out."""
    text = "Translate this. It is short. Really."

    assert text == excerpt(text)


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_the_wish_is_in_the_excerpt_wherever_it_stands(place: str) -> None:
    """A question or an order is kept at the beginning, between other sentences and at the end."""
    wish = "Show the ten largest orders of May."
    text = {"first": f"{wish} {STORY}", "middle": f"{STORY}{wish} {STORY}", "last": f"{STORY}{wish}"}[place]

    assert wish in excerpt(text)


def test_the_excerpt_of_a_long_text_is_short() -> None:
    """At most four sentences, each bounded."""
    assert len(excerpt("word " * 100_000)) <= 4 * (SEGMENT_CHARS + 1)
    assert len(excerpt(STORY * 100)) <= 4 * (SEGMENT_CHARS + 1)


def test_what_was_masked_takes_one_place() -> None:
    """Hundreds of masked log lines do not push the wish out."""
    assert "… List them." == excerpt("…\n" * 500 + "List them.")


@pytest.mark.parametrize(
    "hostile", ["\n" + " " * MAX_CHARS + "\n", "." * MAX_CHARS, "a. " * MAX_CHARS, "?\n" * MAX_CHARS]
)
def test_no_text_takes_long(hostile: str) -> None:
    """Time is linear in the text, and the text is bounded."""
    started = time.process_time()

    excerpt(f"x{hostile * 4}x")

    assert time.process_time() - started < 0.5


def test_a_question_that_orders_asks_most() -> None:
    """Orders and questions rank above statements; politeness in front changes nothing."""
    assert [0, 2, 2, 3] == [
        asking("It rained."),
        asking("Could you please list the names"),
        asking("The names?"),
        asking("Which names?"),
    ]


def test_too_many_ids_lose_their_middle() -> None:
    """As many from the beginning as from the end; fewer ids stay as they are."""
    assert [0, 1, 8, 9] == within(range(10), 4)
    assert [0, 1, 2] == within(range(3), 4)

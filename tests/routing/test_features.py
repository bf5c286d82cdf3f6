"""The features of each expert: fixed order, finite, and each saying what its meaning says."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from expert_system.routing.catalog import Catalogue
from expert_system.routing.features import FEATURES, features
from expert_system.routing.interface import Floats
from expert_system.routing.prompt import read_prompt
from expert_system.testing.router import FakeEncoder
from tests.routing.entries import make_catalogue, make_entry

ENCODER = FakeEncoder()
CATALOGUE = make_catalogue(
    [
        make_entry("csv", category="format", capabilities=["format:csv"], keywords=["table", "rows"]),
        make_entry("en", category="language", capabilities=["language:en"], priority=1.0),
        make_entry("json", category="format", capabilities=["format:json"], negative_examples=["what is json"]),
        make_entry("sql", capabilities=["tech:sql"], keywords=["query", "group by", "rows"]),
    ]
)


def table_of(text: str, catalogue: Catalogue = CATALOGUE) -> Floats:
    """The features of a prompt."""
    prompt = read_prompt(text)
    return features(prompt, ENCODER.read(prompt.asked), catalogue)


def value(text: str, name: str, feature: str) -> float:
    """One feature of one expert."""
    return round(float(table_of(text)[CATALOGUE.places[f"expert-{name}"], FEATURES.index(feature)]), 4)


def test_an_experts_own_words_are_nearest_to_it() -> None:
    """Similarity to descriptors; the first has the margin over the second, others lie below."""
    table = table_of("please sql")
    margins = table[:, FEATURES.index("rank_margin")]

    assert CATALOGUE.places["expert-sql"] == int(np.argmax(table[:, FEATURES.index("best_similarity")]))
    assert margins[CATALOGUE.places["expert-sql"]] > 0 > margins[CATALOGUE.places["expert-csv"]]
    assert 1.0 == value("please sql", "sql", "best_similarity")


def test_negative_examples_speak_against() -> None:
    """The excess over the best descriptor counts; experts without negative examples have none."""
    assert value("what is json", "json", "negative_similarity") > 0.99
    assert value("what is json", "json", "negative_excess") > 0
    assert 0.0 == value("what is json", "sql", "negative_similarity")


def test_heads_agree_conflict_or_are_silent() -> None:
    """Agreement, conflict and silence add up to one for an expert with a known label, and are 0 for others."""
    assert (1.0, 0.0, 0.0) == tuple(
        value("as json", "json", f"format_{p}") for p in ("agreement", "conflict", "silence")
    )
    assert (0.0, 1.0, 0.0) == tuple(
        value("as json", "csv", f"format_{p}") for p in ("agreement", "conflict", "silence")
    )
    assert (0.0, 0.0, 1.0) == tuple(value("hello", "csv", f"format_{p}") for p in ("agreement", "conflict", "silence"))
    assert (0.0, 0.0, 0.0) == tuple(
        value("as json", "sql", f"format_{p}") for p in ("agreement", "conflict", "silence")
    )


def test_exact_words_are_asked_named_or_others() -> None:
    """A format asked for, merely named, or another one named."""
    assert (1.0, 1.0, 0.0) == tuple(value("x as JSON", "json", f"format_{p}") for p in ("asked", "named", "other"))
    assert (0.0, 1.0, 0.0) == tuple(value("what is JSON", "json", f"format_{p}") for p in ("asked", "named", "other"))
    assert (0.0, 0.0, 1.0) == tuple(value("x as JSON", "csv", f"format_{p}") for p in ("asked", "named", "other"))
    assert 0.0 == value("x as JSON", "sql", "format_other")
    assert (1.0, 0.0) == (value("in English", "en", "language_named"), value("in French", "en", "language_named"))
    assert (0.0, 1.0) == (value("in English", "en", "language_other"), value("in French", "en", "language_other"))


def test_words_in_quotes_count_for_nothing() -> None:
    """Neither names nor keywords."""
    table = table_of('he said "as JSON, an SQL query with rows" and left')

    for feature in ("format_named", "format_asked", "tech_named", "tech_asked", "keyword_hits", "keyword_rarity"):
        assert not table[:, FEATURES.index(feature)].any()
    assert table[0, FEATURES.index("masked_share")] > 0.5


def test_keywords_are_whole_phrases_and_rare_ones_weigh_more() -> None:
    """Two of three keywords; `rows` belongs to two of four experts."""
    assert 0.6667 == value("group by rows", "sql", "keyword_hits")
    assert (1.0, 0.75) == (value("group by rows", "sql", "keyword_rarity"), value("rows", "csv", "keyword_rarity"))
    assert 0.0 == value("groups bypass arrows", "sql", "keyword_hits")


def test_the_data_of_a_prompt_speaks_for_its_format() -> None:
    """A JSON object, rows of CSV, a schema of tables."""
    assert (1.0, 0.0) == tuple(value('what is in {"a": 1}', name, "data_agreement") for name in ("json", "csv"))
    assert 1.0 == value("items(id, name) whatever", "sql", "data_agreement")


def test_a_foreign_prompt_is_foreign_to_all() -> None:
    """In a language that the encoder does not read; exact names count all the same."""
    text = "Extraia os dados deste texto em formato JSON, por favor"

    assert value(text, "sql", "foreign") > 0.9
    assert value(text, "json", "foreign_named") > 0.9
    assert 0.0 == value(text, "sql", "foreign_named")
    assert value(text, "en", "language_differs") > 0.9


def test_what_is_held_in_memory_is_marked() -> None:
    """Residency is one feature; it matters as much as the calibration says."""
    prompt = read_prompt("x")
    held = CATALOGUE.entries[2].digest

    table = features(prompt, ENCODER.read("x"), CATALOGUE, resident={held})

    assert [0.0, 0.0, 1.0, 0.0] == table[:, FEATURES.index("resident")].tolist()


def test_no_experts_give_no_rows() -> None:
    """An empty catalogue is no special case for whoever calls."""
    assert (0, len(FEATURES)) == table_of("x", Catalogue((), {})).shape


@given(st.text(max_size=200))
def test_every_value_is_finite_and_repeatable(text: str) -> None:
    """Whatever the text: the same numbers twice, none of them infinite."""
    table = table_of(text)

    assert (4, len(FEATURES)) == table.shape
    assert np.isfinite(table).all()
    assert np.array_equal(table, table_of(text))


def test_words_of_descriptors_count_by_their_rarity() -> None:
    """A rare word of one expert alone counts most, inflected or not; small words and those of all experts never."""
    catalogue = make_catalogue(
        [
            make_entry("bees", description="Keeps bees in wooden hives.", keywords=["queen"]),
            make_entry("wood", description="Builds wooden chairs."),
        ]
    )
    column = FEATURES.index("descriptor_words")

    assert table_of("two queens", catalogue)[:, column].tolist() == [0.5, 0.0]
    assert 0.0 < table_of("my wooden thing", catalogue)[0, column] < 0.5
    assert not table_of("what should you make with them", catalogue)[:, column].any()

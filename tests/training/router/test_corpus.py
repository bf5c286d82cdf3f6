"""Splits are apart: no template in two of them, and no prompt of a held-out expert in training."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from expert_system.errors import ConfigError
from expert_system.training.router.corpus import DATA, Corpus, Role, Split, read_corpus
from expert_system.training.router.examples import KINDS, Amounts, Kind, generate, read_fresh, read_translations

FEW = Amounts(official=2, topic=2, none=2, kinds=KINDS)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """The written data."""
    return read_corpus()


def test_no_template_stands_in_two_splits(corpus: Corpus) -> None:
    """Issue A6: train, calibration and test are apart by template."""
    texts = {split: {t.text.lower() for t in corpus.templates if t.split is split} for split in Split}

    assert set() == texts[Split.TRAIN] & texts[Split.TEST]
    assert set() == texts[Split.TRAIN] & texts[Split.CALIBRATION]
    assert set() == texts[Split.CALIBRATION] & texts[Split.TEST]


def test_a_template_that_moves_into_a_second_split_is_refused(tmp_path: Path) -> None:
    """The reader checks it, so that nobody can break it by an edit."""
    for file in DATA.glob("*.json"):
        shutil.copy(file, tmp_path)
    content = json.loads((tmp_path / "none.json").read_text())
    prompts = content["families"][0]["prompts"]
    prompts["test"].append(prompts["train"][0].upper())
    (tmp_path / "none.json").write_text(json.dumps(content))

    with pytest.raises(ConfigError, match="stands in train and in test"):
        read_corpus(tmp_path)


def test_held_out_experts_have_prompts_in_their_own_split_only(corpus: Corpus) -> None:
    """An expert of role test stands for one that is added after training and calibration."""
    for role, split in ((Role.CALIBRATION, Split.CALIBRATION), (Role.TEST, Split.TEST)):
        held_out = {name for name, expert in corpus.experts.items() if expert.role is role}
        splits = {template.split for template in corpus.templates if held_out & set(template.experts)}

        assert {split} == splits


def test_no_training_template_is_nearly_one_that_is_held_out(corpus: Corpus) -> None:
    """Issue A6: apart by template; the same words in another order or with one of many changed would not be."""
    held_out = [words_of(t.text) for t in corpus.templates if t.split is not Split.TRAIN]
    written = {words_of(t.text): t.text for t in corpus.templates if t.split is Split.TRAIN}

    near = [text for own, text in written.items() for other in held_out if len(own & other) >= 0.8 * len(own | other)]

    assert [] == near


def test_what_encoders_practise_on_stands_in_no_measured_catalogue(corpus: Corpus) -> None:
    """No expert of another role shares a name, description or example with one of the test."""
    added = [expert for expert in corpus.experts.values() if expert.role is Role.TEST]
    others = [expert for expert in corpus.experts.values() if expert.role is not Role.TEST]
    known = {text for expert in others for text in (expert.name, expert.description, *expert.examples)}

    assert set() == known & {text for expert in added for text in (expert.name, expert.description, *expert.examples)}


def test_translations_are_for_measuring_only(corpus: Corpus) -> None:
    """Each prompt stands in every language, names known experts and is no template."""
    examples = read_translations()
    languages = [example.language for example in examples]

    assert 1 == len({languages.count(language) for language in languages})
    assert {name for example in examples for name in example.experts} <= corpus.experts.keys()
    assert set() == {example.text.lower() for example in examples} & {t.text.lower() for t in corpus.templates}


def test_fresh_prompts_are_for_measuring_only(corpus: Corpus) -> None:
    """Each names known experts, and none is a template or a descriptor's example."""
    examples = read_fresh()
    known = {t.text.lower() for t in corpus.templates}
    known |= {text.lower() for expert in corpus.experts.values() for text in expert.examples}

    assert {name for example in examples for name in example.experts} <= corpus.experts.keys()
    assert set() == {example.text.lower() for example in examples} & known


def test_frames_of_paraphrases_are_apart_too(corpus: Corpus) -> None:
    """A polite phrase of the test split is in no other."""
    for parts in corpus.wraps.values():
        test = {frame for frame in parts["test"] if frame != "{}"}

        assert set() == test & ({*parts["train"], *parts["calibration"]} - {"{}"})


def test_prompts_of_held_out_experts_do_not_repeat_a_descriptor(corpus: Corpus) -> None:
    """Otherwise finding the expert would be finding its example."""
    for template in corpus.templates:
        for name in template.experts:
            expert = corpus.experts[name]
            if expert.role in (Role.CALIBRATION, Role.TEST):
                assert all(_overlap(template.text, example) < 0.5 for example in expert.examples), template.text


def test_the_same_seed_gives_the_same_examples(corpus: Corpus) -> None:
    """Generation is a function of corpus, split, amounts and seed."""
    assert generate(corpus, Split.CALIBRATION, FEW) == generate(corpus, Split.CALIBRATION, FEW)
    assert generate(corpus, Split.CALIBRATION, FEW) != generate(corpus, Split.CALIBRATION, FEW, seed=1)


def test_every_gap_is_filled_and_every_kind_occurs(corpus: Corpus) -> None:
    """No example shows a template's gap; all ways of telling are used."""
    examples = generate(corpus, Split.TEST, Amounts(official=10, topic=2, none=4, kinds=KINDS))

    gap = re.compile(r"\{(" + "|".join(corpus.slots) + r")\}")
    assert [] == [example.text for example in examples if gap.search(example.text)]
    assert set(Kind) == {example.kind for example in examples}


def words_of(text: str) -> frozenset[str]:
    """Its words without points, in small letters."""
    return frozenset(word.strip(".,?!:;").lower() for word in text.split())


def _overlap(one: str, other: str) -> float:
    words = [set(re.findall(r"\w+", re.sub(r"\{\w+\}", "", text).lower())) for text in (one, other)]
    return len(words[0] & words[1]) / max(1, len(words[0] | words[1]))

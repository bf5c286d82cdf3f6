"""How engine tests make experts, run requests, and ask PEFT for the truth."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from expert_system.domain import Delta, FinishReason, Sampling, Usage
from expert_system.engine.interface import EngineRequest, Finished
from expert_system.engine.sets import Composed, compose
from expert_system.engine.settings import VllmSettings
from expert_system.engine.vllm_engine import VllmEngine
from expert_system.marketplace.store import Store
from expert_system.package.base import describe_base
from expert_system.package.stored import StoredExpert

LOGPROB_TOLERANCE = 1e-3
_TYPES = {"IA3": "ia3", "PROMPT_TUNING": "soft_prompt"}
_ids = itertools.count()


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request produced."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish_reason: FinishReason
    usage: Usage
    attach_s: float


@dataclass(frozen=True, slots=True)
class Bench:
    """A running engine with a store, on one base."""

    engine: VllmEngine
    store: Store
    base: Path
    adapters: dict[str, Path]
    """PEFT folders by expert name."""
    scratch: Path
    """Where tests may write adapters."""

    def expert(self, name: str) -> StoredExpert:
        """One of the installed experts."""
        return self.store.find(name)

    def set(self, *members: str | tuple[str, float]) -> Composed:
        """Compose experts, each a name or (name, weight)."""
        pairs = [(member, None) if isinstance(member, str) else member for member in members]
        return compose([(self.expert(name), weight) for name, weight in pairs], base=self.engine.base)

    def add(self, name: str, folder: Path, **composition: Any) -> StoredExpert:
        """Install a PEFT folder as an expert."""
        self.adapters[f"expert-{name}"] = folder
        return install(self.store, self.base, name, folder, **composition)

    async def run(
        self, prompt: Sequence[int], composed: Composed | None = None, *, max_tokens: int = 16, **sampling: Any
    ) -> Answer:
        """Run one greedy request to its end; it goes on to max_tokens."""
        request = EngineRequest(
            request_id=f"test-{next(_ids)}",
            token_ids=tuple(prompt),
            expert_set=composed.expert_set if composed else None,
            sampling=replace(Sampling(temperature=0.0, max_tokens=max_tokens, ignore_eos=True, logprobs=0), **sampling),
        )
        return await collect(self.engine, request)

    def run_all(self, *requests: tuple[Sequence[int], Composed | None], **options: Any) -> list[Answer]:
        """Run requests together in one batch."""

        async def together() -> list[Answer]:
            return await asyncio.gather(*(self.run(prompt, composed, **options) for prompt, composed in requests))

        return loop().run_until_complete(together())


_loop: asyncio.AbstractEventLoop | None = None


def loop() -> asyncio.AbstractEventLoop:
    """The one event loop that every engine of a test run lives on."""
    global _loop
    if _loop is None:
        _loop = asyncio.new_event_loop()
    return _loop


async def collect(engine: VllmEngine, request: EngineRequest) -> Answer:
    """Gather a request's events."""
    deltas: list[Delta] = []
    last: Finished | None = None
    async for event in engine.generate(request):
        if isinstance(event, Finished):
            last = event
        else:
            deltas.append(event)
    assert last is not None, "the engine's last word is a Finished"
    return Answer(
        token_ids=tuple(token for delta in deltas for token in delta.token_ids),
        logprobs=tuple(entry.logprob for delta in deltas for entry in delta.logprobs),
        text="".join(delta.text for delta in deltas),
        finish_reason=last.finish_reason,
        usage=last.usage,
        attach_s=last.attach_s,
    )


def start(home: Path, base: Path, **settings: Any) -> Bench:
    """Start a real engine on a base, with an empty store."""
    store = Store(home, dev=True)
    chosen = {"home": home, "base": base, "base_name": base.name, "log": home / "engine.log", **settings}
    engine = VllmEngine(VllmSettings(**chosen), store)
    before = os.environ.get("EXPERT_HOME")
    loop().run_until_complete(engine.start())
    # The engine's processes have their home by now; tests that follow shall not find it.
    if before is None:
        os.environ.pop("EXPERT_HOME", None)
    else:
        os.environ["EXPERT_HOME"] = before
    return Bench(engine, store, base, {}, home.parent)


def stop(bench: Bench) -> None:
    """Stop it again."""
    loop().run_until_complete(bench.engine.stop())
    bench.store.close()


def install(store: Store, base: Path, name: str, folder: Path, **composition: Any) -> StoredExpert:
    """Wrap a PEFT folder into an expert's repository and install it with --dev."""
    description = describe_base(base)
    package = folder.parent / f"package-{name}"
    place = f"weights/{base.name}"
    (package / place).mkdir(parents=True, exist_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        (package / place / file).unlink(missing_ok=True)
        if (folder / file).exists():
            (package / place / file).write_bytes((folder / file).read_bytes())
    kind = _TYPES.get(config["peft_type"]) or ("dora" if config["use_dora"] else "lora")
    adapter: dict[str, Any] = {"type": kind, "path": place}
    if kind in ("lora", "dora"):
        adapter |= {"r": config["r"], "alpha": config["lora_alpha"], "use_rslora": config["use_rslora"]}
    if kind == "soft_prompt":
        adapter["num_virtual_tokens"] = config["num_virtual_tokens"]
    else:
        adapter["target_modules"] = sorted(config["target_modules"])
    manifest = {
        "schema_version": "2.0",
        "name": f"expert-{name}",
        "version": "1.0.0",
        "description": f"Test adapter {name}.",
        "publisher": "tests",
        "license": "MIT",
        "created_at": "2026-01-01T00:00:00Z",
        "base_models": [
            {
                "name": description.name,
                "base_digest": description.binding,
                "tokenizer_sha256": description.tokenizer_sha256,
                "chat_template_sha256": description.chat_template_sha256,
                "validated_on": ["none"],
                "adapters": [adapter],
            }
        ],
        "routing": {"description": f"Test adapter {name}."},
        "composition": {"category": "task", "load_order": 9, **composition},
    }
    (package / "manifest.json").write_text(json.dumps(manifest))
    (package / "README.md").write_text(f"# {name}\n")
    (package / "LICENSE").write_text("MIT\n")
    return store.install_dev(package)


def prompts(count: int, length: int, vocabulary: int, seed: int = 0) -> list[list[int]]:
    """Random prompts."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, vocabulary, (count, length), generator=generator).tolist()


@torch.no_grad()
def check_against(logits_of: Any, prompt: Sequence[int], answer: Answer) -> float:
    """Check greedy tokens against an oracle, teacher-forced on them.

    Args:
        logits_of: maps ids of shape (1, n) to logits of shape (1, n, vocabulary), virtual tokens left out.
        prompt: the request's.
        answer: what the engine said, greedily.

    Returns:
        The largest difference of a chosen token's log-probability.
    """
    ids = torch.tensor([[*prompt, *answer.token_ids]])
    logprobs = torch.log_softmax(logits_of(ids)[0].float(), dim=-1)[len(prompt) - 1 : -1]
    assert logprobs.argmax(dim=-1).tolist() == list(answer.token_ids), "greedy tokens differ from the oracle's"
    chosen = logprobs.gather(1, torch.tensor(answer.token_ids).unsqueeze(1)).squeeze(1)
    return float((chosen - torch.tensor(answer.logprobs)).abs().max())

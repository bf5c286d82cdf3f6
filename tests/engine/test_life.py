"""Start, leave, die, come back: what happens to requests and to the engine around them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import kit
import pytest

from expert_system.domain import EngineState, Grammar, GrammarType, Message, Role, Sampling
from expert_system.engine import starting
from expert_system.engine.interface import EngineRequest
from expert_system.engine.plugin import hooks
from expert_system.engine.sets import Composed
from expert_system.engine.settings import VllmSettings
from expert_system.engine.vllm_engine import VllmEngine
from expert_system.errors import EngineError, EngineUnavailable, IncompatibleSet, InvalidRequest, Overloaded

pytestmark = pytest.mark.engine

ONE_SECOND = 1.0
RESTART_TIMEOUT_S = 240.0


def long_request(request_id: str, composed: Composed | None) -> EngineRequest:
    """A request that would run for a long time."""
    return EngineRequest(
        request_id=request_id,
        token_ids=(1, 2, 3),
        expert_set=composed.expert_set if composed else None,
        sampling=Sampling(temperature=0.0, max_tokens=400, ignore_eos=True),
    )


def unfinished(bench: kit.Bench) -> int:
    """Requests that are still in the engine."""
    assert bench.engine._llm is not None
    count: int = bench.engine._llm.get_num_unfinished_requests()
    return count


def test_leaving_a_stream_takes_its_request_out_within_a_second(tiny_llama: kit.Bench) -> None:
    """A1: closing the events for any reason aborts the request in the engine, and its set can be unloaded."""
    composed = tiny_llama.set("lora-5")

    async def leave() -> float:
        async with aclosing(tiny_llama.engine.generate(long_request("leaver", composed))) as events:
            async for _ in events:
                break
            with pytest.raises(IncompatibleSet, match="1 running requests use it"):
                await tiny_llama.engine.unload(composed.expert_set.digest)
        left = time.perf_counter()
        while unfinished(tiny_llama):
            assert time.perf_counter() - left < ONE_SECOND
            await asyncio.sleep(0.01)
        await tiny_llama.engine.unload(composed.expert_set.digest)
        return time.perf_counter() - left

    assert kit.loop().run_until_complete(leave()) < ONE_SECOND


def test_unload_frees_slot_and_memory_and_loading_comes_back(tiny_llama: kit.Bench) -> None:
    """A2, deliver 4: an unload that really frees, a load that attaches, a pin that keeps."""
    composed = tiny_llama.set("lora-6")
    digest = composed.expert_set.digest
    engine, run = tiny_llama.engine, kit.loop().run_until_complete

    def held() -> list[tuple[bool, bool]]:
        return [(found.in_slot, found.pinned) for found in run(engine.residencies()) if found.set_digest == digest]

    for other in run(engine.residencies()):
        run(engine.unload(other.set_digest))
    cold = run(engine.load(composed.expert_set))
    assert held() == [(True, False)]
    run(engine.pin(composed.expert_set, pinned=True))
    assert held() == [(True, True)]
    run(engine.unload(digest))
    assert held() == []
    assert cold.load_s > 0


def test_usage_and_times_are_told(tiny_llama: kit.Bench) -> None:
    """A1, deliver 4: tokens counted, stages timed; chat goes through the base's template."""
    run = kit.loop().run_until_complete
    rendered = run(tiny_llama.engine.render([Message(role=Role.USER, content="hi")]))
    answer = run(tiny_llama.run(rendered, tiny_llama.set("lora-1"), max_tokens=5))

    assert run(tiny_llama.engine.tokenize("<s>user\nhi<s>assistant")) == rendered
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(rendered), 5)
    assert answer.finish_reason == "length"


def test_a_grammar_is_enforced_and_a_broken_one_refused(tiny_llama: kit.Bench) -> None:
    """formats.md 1.7: grammars go to vLLM's structured outputs; a pattern that is none names its field."""
    digits = Grammar(type=GrammarType.REGEX, source="[0-9]{6}")
    broken = Grammar(type=GrammarType.REGEX, source="([")
    run = kit.loop().run_until_complete

    answer = run(tiny_llama.run([1, 2, 3], None, max_tokens=12, grammar=digits, ignore_eos=False))

    assert answer.text.isdigit()
    assert len(answer.text) == 6
    with pytest.raises(InvalidRequest, match="structured_outputs"):
        run(tiny_llama.run([1, 2, 3], None, grammar=broken))


def test_a_server_without_the_plugin_refuses_to_start(
    tiny_llama: kit.Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A1: left out by VLLM_PLUGINS, it says so in a sentence; it never serves on stock code."""
    monkeypatch.setenv("VLLM_PLUGINS", "something_else")
    engine = VllmEngine(VllmSettings(home=tmp_path, base=tiny_llama.base, base_name="tiny"), tiny_llama.store)

    with pytest.raises(EngineError, match="'something_else', which leaves out the expert_system plugin; unset it"):
        kit.loop().run_until_complete(engine.start())

    assert engine.state is EngineState.STOPPED


def test_workers_without_the_plugin_do_not_pass_the_handshake(tiny_llama: kit.Bench) -> None:
    """vllm.md, Decided 3: whatever kept the plugin out of a worker, the server asks and refuses."""
    assert tiny_llama.engine._llm is not None
    real = tiny_llama.engine._llm

    class Stock:
        """An engine whose workers do not know our call, as without the plugin."""

        async def collective_rpc(self, method: str) -> Any:
            return await real.collective_rpc(f"{method}_of_nobody")

    with pytest.raises(EngineError, match="the expert_system plugin is not in vLLM's workers"):
        kit.loop().run_until_complete(starting.handshake(cast("Any", Stock())))

    kit.loop().run_until_complete(starting.handshake(real))


def test_a_hook_point_that_moved_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules: vLLM is pinned; when one of the names we build on moves, the message says which."""
    moved = hooks.HookPoint("vllm.lora.worker_manager", "LRUCacheWorkerLoRAManager.attach_everything", ("self",))
    changed = hooks.HookPoint("vllm.lora.utils", "get_lora_id", ("colour",))
    monkeypatch.setattr(hooks, "HOOK_POINTS", (moved, changed))

    assert hooks.check() == [
        "vllm.lora.worker_manager.LRUCacheWorkerLoRAManager.attach_everything is gone",
        "vllm.lora.utils.get_lora_id takes (), not ('colour',)",
    ]


def test_an_engine_that_dies_is_unavailable_and_comes_back(tiny_qwen3: kit.Bench) -> None:
    """A1, deliver 3: streams in flight end with UNAVAILABLE, the server starts the engine again, answers return."""
    composed = tiny_qwen3.set("lora-3")
    run = kit.loop().run_until_complete
    before = run(tiny_qwen3.run([1, 2, 3], composed))

    assert tiny_qwen3.engine._llm is not None
    resources: Any = tiny_qwen3.engine._llm.engine_core.resources
    children = [process.pid for process in resources.engine_manager.processes]

    async def victim() -> None:
        async for _ in tiny_qwen3.engine.generate(long_request("victim", composed)):
            while children:
                os.kill(children.pop(), signal.SIGKILL)

    async def kill_it() -> None:
        with pytest.raises(EngineUnavailable, match="died under this request"):
            await victim()
        with pytest.raises(EngineUnavailable, match="try again shortly"):
            await tiny_qwen3.run([1, 2, 3])

    run(kill_it())

    async def back() -> kit.Answer:
        deadline = time.monotonic() + RESTART_TIMEOUT_S
        while tiny_qwen3.engine.state is not EngineState.READY:
            assert time.monotonic() < deadline, "the engine did not come back"
            await asyncio.sleep(0.5)
        return await tiny_qwen3.run([1, 2, 3], composed)

    assert run(back()).token_ids == before.token_ids


def test_a_set_over_the_memory_budget_is_refused_with_figures(
    tiny_llama: kit.Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A4: the budget is in bytes; admission refuses with RESOURCE_EXHAUSTED and figures instead of dying."""
    small, large = tiny_llama.set("lora-0"), tiny_llama.set("lora-8", "lora-9")
    run = kit.loop().run_until_complete
    run(tiny_llama.run([1, 2, 3], small))
    run(tiny_llama.run([1, 2, 3], large))
    monkeypatch.setattr(tiny_llama.engine._residence, "_budget_bytes", 100_000)

    assert run(tiny_llama.run([1, 2, 3], small)).token_ids
    with pytest.raises(
        Overloaded, match=r"need [\d.]+ MiB with this set's [\d.]+ MiB.*host_budget_bytes allows 0.1 MiB"
    ):
        run(tiny_llama.run([1, 2, 3], large))
    with pytest.raises(Overloaded):
        run(tiny_llama.engine.load(large.expert_set))
    monkeypatch.undo()
    assert run(tiny_llama.run([1, 2, 3], large)).token_ids

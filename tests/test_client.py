"""The client that other services import: synchronous and asynchronous, over real gRPC."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import grpc
import pytest

from expert_system.client import AsyncClient, Client, RequestFailed
from expert_system.domain import Delta, Done, ExpertRef, Grammar, GrammarType, Message, Plan, Role
from expert_system.testing.engine import FAKE_BASE, FakeEngine


@pytest.fixture
async def target(start: Any) -> Any:
    async with start() as server:
        yield server.target


async def test_both_clients_give_the_same_answer(target: str) -> None:
    """One contract, two ways to wait."""
    options: dict[str, Any] = {"experts": ["sql=0.5", ExpertRef(name="json")], "max_tokens": 5}

    def synchronous() -> Any:
        with Client(target) as client:
            return client.complete("hello", **options)

    async with AsyncClient(target) as client:
        one = await client.complete("hello", **options)
    other = await asyncio.to_thread(synchronous)

    assert (one.text, one.token_ids, one.plan.experts) == (other.text, other.token_ids, other.plan.experts)
    assert [("expert-json", 1.0), ("expert-sql", 0.5)] == [(e.name, e.weight) for e in one.plan.experts]


async def test_the_synchronous_client_streams(target: str, engine: FakeEngine) -> None:
    """Events come one by one, and leaving early cancels."""

    def synchronous() -> list[Any]:
        with Client(target) as client:
            kinds = [type(event) for event in client.generate("hello", max_tokens=2)]
            stream = client.generate("hello", max_tokens=2000)
            next(stream)
            stream.close()
            return kinds

    assert [Plan, Delta, Delta, Done] == await asyncio.to_thread(synchronous)
    await asyncio.sleep(0.5)
    assert set() == engine.running


async def test_every_sampling_field_arrives(target: str, engine: FakeEngine) -> None:
    """What the caller set reaches the engine unchanged, under vLLM's names."""
    given: dict[str, Any] = {
        "max_tokens": 3,
        "temperature": 0.5,
        "top_p": 0.25,
        "top_k": 7,
        "min_p": 0.125,
        "repetition_penalty": 1.5,
        "presence_penalty": -0.5,
        "frequency_penalty": 0.5,
        "seed": -3,
        "ignore_eos": True,
        "logprobs": 2,
        "grammar": Grammar(type=GrammarType.CHOICE, source="yes\nno"),
    }
    async with AsyncClient(target) as client:
        answer = await client.complete("hello", stop=["never"], priority=2, **given)

    sampling = engine.seen[0].sampling
    assert given | {"stop": ("never",)} == {name: getattr(sampling, name) for name in [*given, "stop"]}
    assert 2 == engine.seen[0].priority
    assert 2 == len(answer.deltas[0].logprobs[0].top)


@pytest.mark.parametrize(
    "message",
    [Message(role=Role.USER, content="hi"), ("user", "hi"), {"role": "user", "content": "hi"}],
)
async def test_messages_come_in_three_shapes(message: Any, target: str, engine: FakeEngine) -> None:
    """A domain value, a pair, or OpenAI's dictionary."""
    async with AsyncClient(target) as client:
        await client.complete(messages=[message], max_tokens=1)

    assert b"user: hi\n" == bytes(engine.seen[0].token_ids)


async def test_experts_are_listed_loaded_pinned_and_unloaded_by_name(target: str) -> None:
    """Names, never paths; what is held and where is visible."""
    async with AsyncClient(target) as client:
        before = await client.experts()
        loaded = await client.load("sql")
        pinned = await client.pin("expert-sql@1.0.0")
        held = await client.experts(loaded_only=True)
        unpinned = await client.pin("sql", pinned=False)
        gone = await client.unload("sql")
        with pytest.raises(RequestFailed, match="was trained for") as refused:
            await client.load("other-base")
        with pytest.raises(RequestFailed, match="not installed"):
            await client.load("nope")

    assert ["expert-json", "expert-other-base", "expert-sql"] == [expert.name for expert in before.experts]
    assert [True, False, True] == [expert.loadable for expert in before.experts]
    assert (0, 4, FAKE_BASE.dtype) == (before.slots_used, before.slots, before.dtype)
    assert (True, True, True) == (loaded.expert.loaded, loaded.expert.in_slot, loaded.load_s > 0)
    assert (True, ["expert-sql"]) == (pinned.pinned, [expert.name for expert in held.experts])
    assert (False, False) == (unpinned.pinned, gone.loaded)
    assert grpc.StatusCode.FAILED_PRECONDITION is refused.value.code


async def test_an_expert_that_runs_is_not_unloaded(target: str, engine: FakeEngine) -> None:
    """Unloading waits for nobody and breaks nobody: it is refused."""
    engine._token_s = 0.02
    async with AsyncClient(target) as client:
        stream = client.generate("x", experts=["sql"], max_tokens=2000)
        await anext(stream)
        await anext(stream)

        with pytest.raises(RequestFailed, match="uses it"):
            await client.unload("sql")

        await stream.aclose()


async def test_no_server_is_said_plainly() -> None:
    """The message says what to start, in both clients."""

    def synchronous() -> None:
        with Client("127.0.0.1:9") as client:
            client.complete("x")

    with pytest.raises(RequestFailed, match="expert-cli serve"):
        await asyncio.to_thread(synchronous)
    async with AsyncClient("127.0.0.1:9") as client:
        assert not await client.ready(0.2)
        with pytest.raises(RequestFailed, match="expert-cli serve"):
            await client.experts()


def test_the_client_is_light() -> None:
    """It imports grpcio and protobuf, and nothing that a server needs."""
    heavy = ["pydantic", "vllm", "torch", "numpy", "typer", "structlog", "prometheus_client"]
    program = f"import sys, expert_system.client; print([m for m in {heavy} if m in sys.modules])"

    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert ("[]", 0) == (found.stdout.strip(), found.returncode)

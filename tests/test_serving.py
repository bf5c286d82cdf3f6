"""The life of a request, without gRPC: what runs, with which parameters, and what is left behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from expert_system.domain import Delta, Done, ExpertRef, Generation, Message, Plan, Role, Sampling
from expert_system.engine.interface import ServedBase
from expert_system.errors import (
    EngineUnavailable,
    InvalidRequest,
    Overloaded,
    UnknownExpert,
    VerificationError,
    WrongBase,
)
from expert_system.marketplace.store import Store
from expert_system.package.base import describe_base
from expert_system.serving import Serving
from expert_system.testing.engine import FakeEngine
from expert_system.testing.expert import make_expert


def asks(*experts: str, request_id: str = "r1", prompt: str | None = "hello", **sampling: Any) -> Generation:
    return Generation(
        request_id=request_id,
        prompt=prompt,
        experts=tuple(ExpertRef.parse(expert) for expert in experts),
        sampling=Sampling(**sampling),
    )


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    found = Store(home, dev=True)
    yield found
    found.close()


@pytest.fixture
async def serving(engine: FakeEngine, store: Store) -> Serving:
    await engine.start()
    return Serving(engine, store.find, max_requests=3, dev=True)


async def events(serving: Serving, generation: Generation) -> list[Any]:
    return [event async for event in serving.generate(generation)]


async def test_an_answer_is_a_plan_then_text_then_the_summary(serving: Serving) -> None:
    """The first event is the plan, the last the summary, and nothing but text stands between."""
    found = await events(serving, asks("sql", max_tokens=3))

    assert [Plan, Delta, Delta, Delta, Done] == [type(event) for event in found]
    assert ["expert-sql"] == [expert.name for expert in found[0].experts]
    assert found[0].experts == found[-1].experts
    assert found[-1].timings.total_s >= found[-1].timings.route_s > 0


async def test_no_experts_named_is_the_base_alone(serving: Serving, engine: FakeEngine) -> None:
    """Without experts there is no set: the engine gets none and the plan says so."""
    plan = (await events(serving, asks(max_tokens=1)))[0]

    assert ((), None) == (plan.experts, plan.set_digest)
    assert engine.seen[0].expert_set is None


async def test_experts_run_in_load_order_whatever_order_they_were_named_in(serving: Serving) -> None:
    """mission: format before task; the same set has the same digest."""
    one = (await events(serving, asks("sql", "json", max_tokens=1)))[0]
    other = (await events(serving, asks("json", "sql", max_tokens=1)))[0]

    assert ["expert-json", "expert-sql"] == [expert.name for expert in one.experts]
    assert one.set_digest == other.set_digest


async def test_the_caller_wins_over_the_expert_over_the_server(serving: Serving, engine: FakeEngine) -> None:
    """Each effective parameter has one source, and the plan names it."""
    plan = (await events(serving, asks("json", temperature=1.5)))[0]

    assert "1.5 (request)" == plan.parameters["temperature"]
    assert "12 (expert expert-json)" == plan.parameters["max_tokens"]
    assert "1 (server)" == plan.parameters["top_p"]
    assert ("###",) == engine.seen[0].sampling.stop


async def test_the_later_category_wins_among_experts(
    home: Path, store: Store, serving: Serving, tmp_path: Path
) -> None:
    """mission: task > domain > tech > language > format decide decoding defaults."""
    base = describe_base(home / "bases" / "tiny")
    store.install_dev(make_expert(tmp_path / "task", base, name="expert-task", decoding={"temperature": 0.1}))

    plan = (await events(serving, asks("task", "json", max_tokens=1)))[0]

    assert "0.1 (expert expert-task)" == plan.parameters["temperature"]


async def test_an_experts_grammar_and_prompt_template_are_used(
    home: Path, store: Store, serving: Serving, engine: FakeEngine, tmp_path: Path
) -> None:
    """formats.md 1.3 and 1.7: the winning expert's template stands around the last user message of a chat."""
    base = describe_base(home / "bases" / "tiny")
    folder = make_expert(
        tmp_path / "g", base, name="expert-g", decoding={"grammar": {"type": "json_schema", "path": "grammar.json"}}
    )
    (folder / "grammar.json").write_text('{"type": "object"}')
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["base_models"][0]["prompt_template"] = "Task: {prompt}!"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    store.install_dev(folder)
    chat = Generation(
        request_id="r1",
        messages=(Message(role=Role.USER, content="go"),),
        experts=(ExpertRef(name="g"),),
        sampling=Sampling(max_tokens=1),
    )

    plan = (await events(serving, chat))[0]

    assert "json_schema (expert expert-g)" == plan.parameters["grammar"]
    assert "set (expert expert-g)" == plan.parameters["prompt_template"]
    assert b"user: Task: go!\n" == bytes(engine.seen[0].token_ids)
    await events(serving, asks("g", prompt="go", max_tokens=1))
    assert b"go" == bytes(engine.seen[1].token_ids)


async def test_a_default_of_max_tokens_is_shortened_to_what_fits(serving: Serving, base: ServedBase) -> None:
    """What nobody asked for gives way to the context; what the caller asked for does not."""
    long = "x" * (base.context_tokens - 5)

    done = (await events(serving, asks(prompt=long)))[-1]

    assert 5 == done.usage.completion_tokens
    with pytest.raises(InvalidRequest, match=r"max_tokens: 6 do not fit .* 4,091 tokens; .* 4,096; at most 5 do"):
        await events(serving, asks(prompt=long, max_tokens=6))


async def test_unknown_and_foreign_and_unverified_experts_are_refused(
    serving: Serving, engine: FakeEngine, store: Store
) -> None:
    """Nothing of this reaches the engine."""
    with pytest.raises(UnknownExpert, match="expert-nope"):
        await events(serving, asks("nope"))
    with pytest.raises(UnknownExpert, match=r"expert-sql@9\.9\.9"):
        await events(serving, asks("sql@9.9.9"))
    with pytest.raises(WrongBase, match="was trained for"):
        await events(serving, asks("other-base"))
    strict = Serving(engine, store.find, max_requests=3, dev=False)
    with pytest.raises(VerificationError, match="nobody verified it"):
        await events(strict, asks("sql"))
    assert [] == engine.seen


async def test_over_the_limit_of_requests_a_caller_is_told_when_to_come_back(serving: Serving) -> None:
    """Admission counts what runs and waits; leaving makes room again."""
    streams = [serving.generate(asks(request_id=f"r{n}")) for n in range(3)]
    for stream in streams:
        await anext(stream)

    with pytest.raises(Overloaded, match="3 requests are in flight") as refused:
        await events(serving, asks(request_id="r4"))

    assert refused.value.retry_after_s is not None
    for stream in streams:
        await stream.aclose()
    assert Done is type((await events(serving, asks(request_id="r4")))[-1])


async def test_a_request_id_in_flight_is_refused_and_free_afterwards(serving: Serving) -> None:
    """Two running requests never share an id."""
    async with aclosing(serving.generate(asks())) as stream:
        await anext(stream)
        with pytest.raises(InvalidRequest, match="request_id: 'r1' is in flight"):
            await events(serving, asks())

    assert Done is type((await events(serving, asks()))[-1])


async def test_closing_the_events_takes_the_request_out_of_the_engine(serving: Serving, engine: FakeEngine) -> None:
    """On any way out: here the consumer leaves after the first text."""
    async with aclosing(serving.generate(asks(ignore_eos=True))) as stream:
        await anext(stream)
        await anext(stream)
        assert {"r1"} == engine.running

    assert set() == engine.running
    assert 0 == serving.admission.count


async def test_an_engine_that_dies_is_unavailable_until_it_is_back(serving: Serving, engine: FakeEngine) -> None:
    """Running requests and new ones get EngineUnavailable; afterwards all is well."""
    async with aclosing(serving.generate(asks())) as stream:
        await anext(stream)
        await anext(stream)
        engine.die()
        with pytest.raises(EngineUnavailable, match="died"):
            await anext(stream)
    with pytest.raises(EngineUnavailable, match="restarting"):
        await events(serving, asks())

    engine.revive()

    assert Done is type((await events(serving, asks()))[-1])


async def test_draining_admits_no_more_and_waits_for_those_inside(serving: Serving) -> None:
    """What runs may finish within the grace; what comes is UNAVAILABLE."""
    stream = serving.generate(asks(max_tokens=2))
    await anext(stream)
    draining = asyncio.create_task(serving.admission.close(5.0))
    await asyncio.sleep(0)

    with pytest.raises(EngineUnavailable, match="draining"):
        await events(serving, asks(request_id="late"))
    assert not draining.done()
    rest = [event async for event in stream]

    assert Done is type(rest[-1])
    assert await draining

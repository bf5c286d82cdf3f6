"""From a push to a running engine: the sync daemon, a real server and real vLLM."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from expert_system.app import App, running, vllm_engine
from expert_system.cli.market import _Remote
from expert_system.client import AsyncClient, Client
from expert_system.config import Config
from expert_system.domain import Done, Plan
from expert_system.marketplace.acquire import Acquirer
from expert_system.marketplace.sync import Sync
from expert_system.package.base import describe_base
from expert_system.testing.market import Market

pytestmark = pytest.mark.engine


async def test_a_pushed_version_answers_without_a_restart_and_streams_in_flight_end_unharmed(tmp_path: Path) -> None:
    """Issue A5: publish -> sync -> the running server answers with the new version."""
    before = dict(os.environ)
    home = tmp_path / "home"
    base = tiny.make_base(home / "bases" / "tiny", "llama")
    market = Market(tmp_path / "market")
    market.base = replace(describe_base(base), name="tiny")
    store = market.store(home, with_base=False)
    acquirer = Acquirer(store)
    market.publish(version="1.0.0")
    acquirer.install([market.source("expert-sql")])
    settings = {"base": str(base), "dtype": "float32", "max_loras": 2, "kv_cache_memory_bytes": 2**26}
    config = Config.model_validate({"home": home, "server": {"port": 0}, "engine": settings})
    try:
        async with running(App(config, vllm_engine)) as server, AsyncClient(server.target) as client:
            with Client(server.target) as plain:
                daemon = Sync(store, lambda: acquirer.update(tolerant=True), [_Remote(server.target, plain)])
                assert ("expert-sql@1.0.0",) == (await asyncio.to_thread(daemon.round)).told[0].loaded
                alone = await client.complete(
                    "once upon", experts=["sql"], max_tokens=400, ignore_eos=True, temperature=0
                )

                stream = client.generate("once upon", experts=["sql"], max_tokens=400, ignore_eos=True, temperature=0)
                plan = await anext(stream)
                assert isinstance(plan, Plan)
                market.publish(version="1.1.0")
                done = await asyncio.to_thread(daemon.round)
                assert ("expert-sql@1.1.0",) == done.told[0].loaded
                events = [event async for event in stream]
                assert isinstance(events[-1], Done)
                assert alone.text == "".join(getattr(event, "text", "") for event in events)
                assert "1.0.0" == plan.experts[0].version

                renewed = await client.complete("once upon", experts=["sql"], max_tokens=40, temperature=0)
                assert store.find("sql").digest == renewed.plan.experts[0].digest
                assert "1.1.0" == renewed.plan.experts[0].version
                assert not alone.text.startswith(renewed.text), "other weights, another answer"
                told = [*done.told[0].retired, *(await asyncio.to_thread(daemon.round)).told[0].retired]
                assert ["expert-sql@1.0.0"] == told
    finally:
        store.close()
        os.environ.clear()
        os.environ.update(before)

"""The provider `local` against real vLLM: an author's request, held to its schema, over gRPC."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import kit
import pytest

from expert_system.app import App, running
from expert_system.cli.dataset_provider import completing
from expert_system.client import AsyncClient
from expert_system.config import Config
from expert_system.errors import ProviderRefused
from expert_system.training.providers import LOCAL, open_provider
from expert_system.training.providers.interface import Ask

pytestmark = pytest.mark.engine

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "difficulty": {"enum": ["easy", "hard"]},
        "question": {"type": "string", "pattern": "^[a-z]{4,12}$"},
    },
    "required": ["difficulty", "question"],
    "additionalProperties": False,
}


class _Started:
    """The bench's engine for a server that would start and stop its own."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass


def ask(model: str) -> Ask:
    return Ask(
        provider=LOCAL,
        model=model,
        system="You write questions.",
        user="One question about bees.",
        schema=SCHEMA,
        temperature=1.0,
        max_output_tokens=120,
        seed=7,
    )


def test_our_own_engine_answers_an_author_under_the_schema(
    tiny_llama: kit.Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue A7, deliver 1: `local` is our own served engine; a model is the base's name or an expert's."""
    base = tiny_llama.base.name
    home = tiny_llama.store.home.root
    monkeypatch.setenv("EXPERT_HOME", str(home))  # the app sets it; afterwards it is what it was
    config = Config.model_validate(
        {"home": home, "dev": True, "server": {"port": 0}, "engine": {"base": str(tiny_llama.base)}}
    )

    async def run() -> None:
        app = App(config, lambda _: _Started(tiny_llama.engine))
        async with running(app) as server, AsyncClient(server.target) as client:
            provider = open_provider(LOCAL, completing(client, base))

            replies = {model: await provider.ask(ask(model)) for model in (base, "lora-9")}
            again = await provider.ask(ask(base))

            for model, reply in replies.items():
                jsonschema.validate(json.loads(reply.text), SCHEMA)
                assert ("stop", model) == (reply.finish, reply.model)
                assert reply.input_tokens > 0 < reply.output_tokens
            assert replies[base].text == again.text
            assert replies[base].text != replies["lora-9"].text
            with pytest.raises(ProviderRefused, match=f"nobody.*the base here {base}"):
                await provider.ask(ask("nobody"))

    kit.loop().run_until_complete(run())

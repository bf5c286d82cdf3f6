"""What many tests share: a store with small real experts, and a real gRPC server over the shipped fake engine."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from expert_system.app import App, Running, running
from expert_system.config import Config
from expert_system.engine.interface import ServedBase
from expert_system.marketplace.store import Store
from expert_system.testing.engine import FAKE_BASE, FakeEngine
from expert_system.testing.expert import make_base, make_expert

ServerFactory = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """A server tells its engine's processes where the store is through the environment; the next test starts clean."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="session")
def prepared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `home` is a copy of; made once."""
    folder = tmp_path_factory.mktemp("prepared")
    found = folder / "home"
    base = make_base(found / "bases" / "tiny")
    other = make_base(folder / "other", seed=1)
    store = Store(found)
    store.install_dev(make_expert(folder / "sql", base))
    store.install_dev(
        make_expert(
            folder / "json",
            base,
            name="expert-json",
            rank=8,
            composition={"category": "format", "load_order": 1},
            decoding={"temperature": 0.5, "stop": ["###"], "max_tokens": 12},
        )
    )
    store.install_dev(make_expert(folder / "other-expert", other, name="expert-other-base"))
    store.close()
    return found


@pytest.fixture
def home(prepared_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An $EXPERT_HOME with a tiny base and three unverified experts: sql, json (with defaults of its own), other-base."""
    found = tmp_path / "home"
    shutil.copytree(prepared_home, found)
    monkeypatch.setenv("EXPERT_HOME", str(found))
    return found


@pytest.fixture
def base(home: Path) -> ServedBase:
    """What the fake engine says it serves: the tiny base of `home`."""
    return replace(FAKE_BASE, name="tiny", digest=make_base(home / "bases" / "tiny").binding)


@pytest.fixture
def engine(base: ServedBase) -> FakeEngine:
    """An instant engine."""
    return FakeEngine(base=base)


@pytest.fixture
def start(home: Path, engine: FakeEngine) -> ServerFactory:
    """Starts a server on a free port; keywords are settings of its [server] section, and `dev`."""

    @asynccontextmanager
    async def started(*, dev: bool = True, grace_s: float = 5.0, **server: Any) -> AsyncIterator[Running]:
        section = {"port": 0, "grace_s": grace_s, **server}
        config = Config.model_validate({"home": home, "dev": dev, "server": section})
        async with running(App(config, lambda _: engine)) as found:
            yield found

    return started

"""The composition root: builds everything by hand, in reading order, and owns start and stop.

    Config -> store -> engine -> serving -> gRPC server

Promise: parts meet only here; what was started is stopped in reverse order, whatever way the server ends.
This module is also what vLLM calls in each of its processes, so importing it is cheap.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:  # heavy or optional: each is imported by the function that needs it
    from expert_system.config import Config
    from expert_system.domain import Digest, RouteWish, Routing
    from expert_system.engine.interface import Engine
    from expert_system.marketplace.store import Store
    from expert_system.routing.keeper import Keeper
    from expert_system.routing.router import Router, Source
    from expert_system.rpc.metrics import MetricsPage
    from expert_system.rpc.server import RpcServer

HOME_VARIABLE = "EXPERT_HOME"
LOG_FOLDER = "logs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that takes requests."""

    target: str
    """`host:port` for clients on this machine."""
    metrics_port: int | None
    engine: Engine


class App:
    """One server process: a store, an engine, and the gRPC server in front of them."""

    def __init__(
        self,
        config: Config,
        make_engine: Callable[[Config], Engine] | None = None,
        make_router: Callable[[Config, Source], Router | None] | None = None,
    ) -> None:
        """Build the parts; nothing starts yet.

        Args:
            config: every setting.
            make_engine: makes another engine than vLLM's, such as the shipped fake.
            make_router: makes another router than that of the router model, likewise.
        """
        from expert_system.marketplace.store import Store
        from expert_system.residents import ExpertDesk
        from expert_system.rpc.readiness import Readiness
        from expert_system.rpc.server import Address, RpcServer
        from expert_system.serving import Serving

        os.environ[HOME_VARIABLE] = str(config.home)  # the engine's processes find the store by it
        self._config = config
        store = Store(config.home, dev=config.dev, hold=True)
        self.engine: Engine = (make_engine or vllm_engine)(config)
        self._routing = routing_of(config, store, make_router or load_router)
        serving = Serving(
            self.engine,
            store.find,
            max_requests=config.server.max_requests,
            dev=config.dev,
            routing=self._routing,
        )
        desk = ExpertDesk(serving, self.engine, store.experts, dev=config.dev)
        readiness = Readiness(lambda: self.engine.state)
        address = Address(host=config.server.host, port=config.server.port)
        self._rpc: RpcServer = RpcServer(serving, desk, readiness, address)
        self._metrics: MetricsPage | None = None
        self.port: int | None = None
        """Where the server listens; None before it does."""

    async def start(self) -> Running:
        """Listen (health says NOT_SERVING), warm the engine, and return when requests are taken."""
        from expert_system import telemetry
        from expert_system.rpc.metrics import MetricsPage

        server = self._config.server
        self.port = await self._rpc.start()
        if server.metrics_port is not None:
            self._metrics = MetricsPage(server.host, server.metrics_port)
        await self._routing.start()
        await self.engine.start()
        target = server.target(self.port)
        telemetry.event("ready", target=target, base=self.engine.base.name)
        return Running(
            target=target,
            metrics_port=self._metrics.port if self._metrics is not None else None,
            engine=self.engine,
        )

    async def stop(self, grace_s: float | None = None) -> None:
        """Drain and free everything; requests that outlive the grace are aborted."""
        from expert_system import telemetry

        finished = await self._rpc.stop(self._config.server.grace_s if grace_s is None else grace_s)
        await self._routing.stop()
        await self.engine.stop()
        if self._metrics is not None:
            await asyncio.to_thread(self._metrics.close)
        telemetry.event("stopped", all_finished=finished)


@asynccontextmanager
async def running(app: App, grace_s: float | None = None) -> AsyncIterator[Running]:
    """Start, and stop on any way out of the block."""
    try:
        yield await app.start()
    finally:
        await app.stop(grace_s)


async def serve(app: App, ready: Callable[[Running], None]) -> None:
    """Run until SIGTERM or SIGINT, then drain; a second signal ends the grace."""
    stop = asyncio.Event()
    again = asyncio.Event()

    def on_signal() -> None:
        (again if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    starting = asyncio.create_task(app.start())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if not stop.is_set():
            ready(await starting)
            await stopped
    finally:
        stopped.cancel()
        starting.cancel()
        await asyncio.gather(starting, stopped, return_exceptions=True)
        await _stop_unless(app, again)


async def _stop_unless(app: App, again: asyncio.Event) -> None:
    """Stop with the configured grace, cut short when `again` is set."""
    graceful = asyncio.create_task(app.stop())
    hurried = asyncio.create_task(again.wait())
    await asyncio.wait({graceful, hurried}, return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if not graceful.done():
        graceful.cancel()
        await asyncio.gather(graceful, return_exceptions=True)
        await app.stop(grace_s=0)
    else:
        await graceful


def routing_of(config: Config, store: Store, make_router: Callable[[Config, Source], Router | None]) -> Keeper:
    """The router of a server, which follows its store."""
    from expert_system.routing.keeper import Keeper

    source = expert_source(store, dev=config.dev)
    return Keeper(lambda: make_router(config, source), source, enabled=config.router.enabled)


def load_router(config: Config, source: Source) -> Router | None:
    """The router, without experts yet; None where no router model is and none is insisted on.

    Raises:
        ConfigError: the router model, or what reads it, is missing or damaged.
    """
    from expert_system.errors import ConfigError
    from expert_system.routing.model import find_model, load_model
    from expert_system.routing.router import Router

    folder = find_model(config.router.models)
    if folder is None:
        if config.router.enabled == "on":
            raise ConfigError("router.enabled is on, but no router model was found; set router.models to its folder")
        return None
    try:
        model = load_model(folder)
    except ImportError as error:
        if config.router.enabled == "on":
            raise ConfigError(f"the router needs {error.name}; install expert-system[router]") from None
        return None
    return Router(
        model.encoder,
        model.calibration,
        source,
        max_experts=config.router.max_experts,
        cached=config.router.cached,
    )


def expert_source(store: Store, *, dev: bool) -> Source:
    """What the router learns from the store: experts, measured harm, and a place for embedded descriptors."""
    from expert_system.routing.catalog import entry_of
    from expert_system.routing.descriptors import FILE_NAME, Kept
    from expert_system.routing.router import Source

    return Source(
        entries=lambda: [entry_of(expert) for expert in store.defaults() if expert.verified or dev],
        revision=store.revision,
        harmful=store.harmful,
        kept=Kept(
            read=lambda expert, encoder: store.derived.read(expert, encoder, FILE_NAME),
            write=lambda expert, encoder, content: store.derived.write(expert, encoder, FILE_NAME, content),
        ),
    )


def embed_descriptors(config: Config, store: Store) -> None:
    """Embed what installed experts say of themselves, so that the first routed request need not wait for it.

    Nothing happens where there is no router: a server embeds what is missing.

    Raises:
        ConfigError: the router model is damaged, or insisted on and missing.
    """
    try:
        router = load_router(config, expert_source(store, dev=True))
    except ImportError:  # the router's packages are an extra
        return
    if router is not None:
        router.refresh()


class LocalRouter:
    """The router without a server, over this node's store or a folder of manifests; use it in a `with` block."""

    def __init__(self, config: Config, catalog: Path | None = None) -> None:
        """Load the model and read the experts.

        Args:
            config: every setting.
            catalog: a folder of manifests to choose from instead of the store.

        Raises:
            ConfigError: this node has no router model.
            PackageError: the folder holds something else than manifests.
        """
        from expert_system.errors import ConfigError
        from expert_system.marketplace.store import Store
        from expert_system.routing.router import NO_LIMITS, ServedLimits, Source

        self._store: Store | None = None
        self._served = NO_LIMITS
        if catalog is None:
            self._store = Store(config.home, dev=config.dev)
            source = expert_source(self._store, dev=config.dev)
            base = local_base(config)
            self._served = ServedLimits(base=base, max_rank=config.engine.max_lora_rank if base else None)
        else:
            from expert_system.routing.catalog import read_folder

            entries = read_folder(catalog)
            source = Source(entries=lambda: entries)
        router = load_router(config, source)
        if router is None:
            raise ConfigError(
                "no router model was found, or expert-system[router] is not installed; set router.models to its folder"
            )
        router.refresh()
        self._router = router

    def route(self, text: str, wish: RouteWish) -> Routing:
        """Choose experts for one prompt."""
        return self._router.route(text, wish, served=self._served)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._store is not None:
            self._store.close()


def local_base(config: Config) -> Digest | None:
    """What experts must be bound to on this node; None when the configured base is not here."""
    from expert_system.errors import ConfigError
    from expert_system.package.base import describe_base
    from expert_system.package.resolve_base import resolve_base

    if not any(
        Path(place).expanduser().is_dir() for place in (config.engine.base, config.home / "bases" / config.engine.base)
    ):
        return None  # a name of the hub: nothing is fetched to look at a prompt
    try:
        return describe_base(resolve_base(config.engine.base, config.home)).binding
    except ConfigError:
        return None


def embedder(folder: Path | None = None) -> Callable[[Sequence[str]], Any]:
    """The router's encoder as training data needs it: texts to an array of shape (texts, d), rows of unit length.

    Args:
        folder: of the encoder; None takes the router model that the settings name.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    from expert_system import config
    from expert_system.errors import ConfigError
    from expert_system.routing.encoder import Encoder
    from expert_system.routing.model import find_model

    place = folder or find_model(config.read().config.router.models)
    if place is None:
        raise ConfigError(
            "near duplicates are found with the router's encoder, and no router model is here; "
            "name a folder with --encoder, or leave them in with --no-near-duplicates"
        )
    return Encoder.load(place).embed


def vllm_engine(config: Config) -> Engine:
    """The real engine."""
    from expert_system.engine.settings import VllmSettings
    from expert_system.engine.vllm_engine import VllmEngine
    from expert_system.package.resolve_base import resolve_base

    base = resolve_base(config.engine.base, config.home)
    given = config.engine
    settings = VllmSettings(
        home=config.home,
        base=base,
        base_name=base.name,
        dtype=given.dtype,
        slots=given.max_loras,
        max_rank=given.max_lora_rank,
        max_sequences=given.max_num_seqs,
        step_tokens=given.max_num_batched_tokens,
        context_tokens=given.max_model_len,
        kv_cache_bytes=given.kv_cache_memory_bytes,
        host_budget_bytes=given.host_budget_bytes,
        seed=given.seed,
        log=config.home / LOG_FOLDER / "engine.log",
        extra=given.extra,
    )
    return VllmEngine(settings, _store())


def compiler_problem() -> str | None:
    """What keeps this machine from compiling what a CPU engine generates, and what to do; None when nothing does."""
    from expert_system.engine import compiler

    return compiler.problem()


def register_vllm() -> None:
    """What vLLM calls in each of its processes (entry point group vllm.general_plugins)."""
    from expert_system.engine.plugin.register import register

    register(_store)


def _store() -> Store:
    """The store of this process's `$EXPERT_HOME`; what it reads is hashed as it is read (formats.md 4.9)."""
    from expert_system.marketplace.store import Store

    return Store(Path(os.environ.get(HOME_VARIABLE, "~/.expert")).expanduser())

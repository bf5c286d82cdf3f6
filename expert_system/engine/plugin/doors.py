"""The doors that a request with experts passes before a worker hears of it.

    1 front end      members, bytes, shapes, values: the caller gets our sentence
    2 engine core    the same files are there and stay until the request ends; a failure fails only that request
    3 worker         maps them (worker.py), cannot fail on content

Promise: one bad adapter costs its own request and nothing else.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.lora.request import LoRARequest
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine.core import EngineCore
from vllm.v1.engine.input_processor import InputProcessor

from expert_system.engine.plugin.hostcache import DEFAULT_BUDGET_BYTES, HostCache
from expert_system.engine.plugin.hostfiles import HostFiles
from expert_system.errors import ExpertSystemError

BUDGET_VARIABLE = "EXPERT_HOST_BUDGET_BYTES"

_cache: HostCache | None = None
"""The engine core's, one per process."""


def install() -> None:
    """Put the doors into this process's vLLM classes; each process uses those of its role."""
    InputProcessor._validate_lora = _front_end(InputProcessor._validate_lora)
    EngineCore.preprocess_add_request = _engine_core(EngineCore.preprocess_add_request)
    Scheduler._free_request = _request_ends(Scheduler._free_request)
    EngineCore.expert_pin = _pin
    EngineCore.expert_drop = _drop
    EngineCore.expert_contents = _contents


def _front_end(validate: Any) -> Any:
    @functools.wraps(validate)
    def checked(self: Any, lora_request: LoRARequest | None) -> None:
        validate(self, lora_request)
        if lora_request is None:
            return
        try:
            files = HostFiles.of_engine(self.vllm_config)
            for member in files.members(lora_request):
                files.ensure(member)
        except ExpertSystemError as error:
            raise VLLMValidationError(str(error)) from error

    return checked


def _engine_core(preprocess: Any) -> Any:
    @functools.wraps(preprocess)
    def held(self: Any, request: Any) -> Any:
        if request.lora_request is None:
            return preprocess(self, request)
        files = HostFiles.of_engine(self.vllm_config)
        _cache_of(self).hold(request.request_id, files.members(request.lora_request))
        try:
            return preprocess(self, request)
        except BaseException:
            _cache_of(self).release(request.request_id)
            raise

    return held


def _request_ends(free: Any) -> Any:
    @functools.wraps(free)
    def released(self: Any, request: Any, delay_free_blocks: bool = False) -> Any:
        if _cache is not None and request.lora_request is not None:
            _cache.release(request.request_id)
        return free(self, request, delay_free_blocks)

    return released


def _cache_of(core: Any) -> HostCache:
    global _cache
    if _cache is None:
        budget = int(os.environ.get(BUDGET_VARIABLE, DEFAULT_BUDGET_BYTES))
        _cache = HostCache(HostFiles.of_engine(core.vllm_config), budget)
    return _cache


def _pin(self: Any, name: str, path: str, pinned: bool) -> None:
    """Utility call of the server: pin a set's host files, or let go of them."""
    members = HostFiles.of_engine(self.vllm_config).members(LoRARequest(name, 1, path))
    cache = _cache_of(self)
    if pinned:
        cache.hold(f"pin {name}", members)
    else:
        cache.release(f"pin {name}")


def _drop(self: Any, name: str, path: str) -> None:
    """Utility call of the server: remove a set's host files where nobody else needs them."""
    _cache_of(self).drop(HostFiles.of_engine(self.vllm_config).members(LoRARequest(name, 1, path)))


def _contents(self: Any) -> list[tuple[str, int, int]]:
    """Utility call of the server: (key, bytes, uses) of every host file."""
    return [(held.key, held.size_bytes, held.uses) for held in _cache_of(self).contents()]

"""Host files: experts that were read, hashed and checked once, shared by every process of one engine.

    LoRARequest -> members -> (store: read, hash, check, convert) -> run folder/<key>.safetensors -> mapped by workers

An engine on the CPU has three processes: front end, engine core, worker. The first to need an expert reads it from
the store, hashes the very bytes it parses (formats.md 4.9), checks them and leaves the canonical tensors in the
engine's run folder, in memory where the machine has shared memory. The others map that file.

Promise: a host file is complete and checked, or it is not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save_file

from expert_system.domain import Digest
from expert_system.engine.plugin import baseweights, gates, runfolder
from expert_system.engine.plugin.adapter import CONFIG_FILE, SOFT_PROMPT, WEIGHTS_FILE, read_adapter
from expert_system.engine.sets import SCHEMA
from expert_system.errors import AdapterRefused, IntegrityError
from expert_system.package.binding import AdapterType
from expert_system.package.files import MAX_FILE_BYTES
from expert_system.package.stored import StoredExpert

MAX_SET_BYTES = 64 * 1024
NORMS_FILE = "dora-norms.safetensors"


class DerivedAccess(Protocol):
    """Where data computed from an expert and a base is kept (vllm.md, Decided 6)."""

    def read(self, expert: Digest, base: Digest, name: str) -> bytes | None:
        """The content, or None when it is missing or was changed."""

    def write(self, expert: Digest, base: Digest, name: str, content: bytes) -> None:
        """Keep a content."""


class StoreAccess(Protocol):
    """What the engine needs of the store; `app.register_vllm` hands it in."""

    @property
    def derived(self) -> DerivedAccess:
        """Data computed from stored experts."""

    def by_digest(self, digest: Digest) -> StoredExpert:
        """A stored expert; raises our own errors."""


_open_store: Callable[[], StoreAccess] | None = None


def set_store(open_store: Callable[[], StoreAccess]) -> None:
    """Remember how this process reaches the store."""
    global _open_store
    _open_store = open_store


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMember:
    """One expert of a set as the engine's processes know it."""

    key: str
    """Names its content: the package digest, or the digest of a plain PEFT folder's bytes."""
    weight: float
    folder: Path | None = None
    """Of a plain PEFT folder; None for a stored expert."""


class HostFiles:
    """The host files of one engine."""

    def __init__(self, base: Path, dtype: torch.dtype, store: StoreAccess | None = None) -> None:
        """Serve experts on this base with adapter tensors of this type.

        Args:
            base: folder of the base.
            dtype: of the engine's adapter arithmetic.
            store: where stored experts are; None is what this process was registered with.
        """
        self._base = base
        self._dtype = dtype
        self._store = store
        self._known: dict[tuple[str, str], tuple[HostMember, ...]] = {}

    @classmethod
    def of_engine(cls, vllm_config: Any, store: StoreAccess | None = None) -> HostFiles:
        """The host files of the engine that has this configuration."""
        return cls(Path(vllm_config.model_config.model), vllm_config.lora_config.lora_dtype, store)

    def members(self, request: Any) -> tuple[HostMember, ...]:
        """Who takes part in a `LoRARequest`: the members of a set file, or one plain PEFT folder.

        Raises:
            AdapterRefused: the path is neither, or its content is not what it was under this name and path.
            IntegrityError: a set file does not hash to its name.
        """
        known = self._known.get((request.lora_name, request.lora_path))
        if known is None:
            path = Path(request.lora_path)
            known = self._set_members(path) if path.suffix == ".json" else (_folder_member(path),)
            if known[0].folder is not None:
                runfolder.bind(f"{request.lora_name}\n{request.lora_path}", known[0].key)
            self._known[(request.lora_name, request.lora_path)] = known
        return known

    def path(self, member: HostMember) -> Path:
        """Where the member's host file is, or would be."""
        base = baseweights.description(self._base).base_digest[:16]
        kind = str(self._dtype).removeprefix("torch.")
        return runfolder.get() / f"{member.key}.{base}.{kind}.safetensors"

    def ensure(self, member: HostMember) -> Path:
        """Make the member's host file if it is not there; read, hash and check its bytes on the way.

        Raises:
            AdapterRefused: the weights cannot be served.
            IntegrityError: the bytes are not the signed ones.
        """
        target = self.path(member)
        if not target.exists():
            self._write(target, self._read(member))
        return target

    def _set_members(self, path: Path) -> tuple[HostMember, ...]:
        with path.open("rb") as stream:
            content = stream.read(MAX_SET_BYTES)
        if hashlib.sha256(content).hexdigest() != path.stem:
            raise IntegrityError(f"{path} does not hash to its name; remove it, it is written again when needed")
        values = json.loads(content)
        served = baseweights.description(self._base).binding
        if values["schema"] != SCHEMA or values["base"] != served:
            raise AdapterRefused(f"{path}: made for base {values['base'][:12]}, this engine serves {served[:12]}")
        return tuple(HostMember(key=member["expert"], weight=member["weight"]) for member in values["members"])

    def _read(self, member: HostMember) -> dict[str, torch.Tensor]:
        shapes = baseweights.shapes(self._base)
        norms = baseweights.RowNorms(self._base)
        tensors: dict[str, torch.Tensor] = {}
        for where, config, weights in self._sources(member, norms):
            found = read_adapter(config, weights, shapes, where=where, row_norms=norms)
            twice = sorted(set(found) & set(tensors))
            if twice:
                raise AdapterRefused(f"{where}: another adapter of this expert has {twice[0]} already")
            tensors.update(found)
        if member.folder is not None and SOFT_PROMPT in tensors:
            raise AdapterRefused(
                f"{member.folder}: a LoRARequest cannot carry a soft prompt; use the gRPC server for it"
            )
        _gates_can_run(tensors, member)
        if member.folder is None and norms.computed:
            served = baseweights.description(self._base).binding
            self._access().derived.write(Digest(member.key), served, NORMS_FILE, norms.dump())
        return {name: tensor.to(self._dtype) for name, tensor in tensors.items()}

    def _sources(self, member: HostMember, norms: baseweights.RowNorms) -> Iterator[tuple[str, bytes, bytes]]:
        """What to call each adapter of the member, and the hashed bytes of its two files."""
        if member.folder is not None:
            config, weights = _read_plain(member.folder)
            if _content_key(config, weights) != member.key:
                raise AdapterRefused(f"{member.folder} changed while it was read; load it under another name and id")
            yield str(member.folder), config, weights
            return
        stored = self._access().by_digest(Digest(member.key))
        served = baseweights.description(self._base).binding
        binding = stored.manifest.binding_for(served)
        if binding is None:
            raise AdapterRefused(f"{stored.manifest.name} was not trained for the base served ({served[:12]})")
        if any(adapter.type is AdapterType.DORA for adapter in binding.adapters):
            norms.load(self._access().derived.read(stored.digest, served, NORMS_FILE))
        for adapter in binding.adapters:
            where = f"{stored.manifest.name}@{stored.manifest.version}/{adapter.path}"
            yield where, stored.read(f"{adapter.path}/{CONFIG_FILE}"), stored.read(f"{adapter.path}/{WEIGHTS_FILE}")

    def _access(self) -> StoreAccess:
        if self._store is None:
            if _open_store is None:
                raise AdapterRefused("this process knows no store; start it with the expert_system plugin")
            self._store = _open_store()
        return self._store

    def _write(self, target: Path, tensors: dict[str, torch.Tensor]) -> None:
        descriptor, aside = tempfile.mkstemp(dir=target.parent, prefix=".host-")
        os.close(descriptor)
        try:
            save_file(tensors, aside)
            Path(aside).replace(target)
        finally:
            Path(aside).unlink(missing_ok=True)


def _gates_can_run(tensors: dict[str, torch.Tensor], member: HostMember) -> None:
    """Refuse gates that this engine has no buffers for, before a worker would leave them out."""
    from vllm.platforms import current_platform

    if gates.needs_gates(tensors) and not (current_platform.is_cpu() or gates.enabled()):
        raise AdapterRefused(
            f"{member.folder or member.key[:12]} is DoRA or IA³, and this engine was started without gates;"
            f" set {gates.GATES_VARIABLE}=1 before it starts"
        )


def _folder_member(path: Path) -> HostMember:
    """A plain PEFT folder as a set of one (vllm.md, Decided 2); hub names are never accepted."""
    if not path.is_absolute() or not path.is_dir():
        raise AdapterRefused(f"{str(path)!r} is not an absolute path of a PEFT folder; hub names are not accepted")
    return HostMember(key=_content_key(*_read_plain(path)), weight=1.0, folder=path)


def _read_plain(folder: Path) -> tuple[bytes, bytes]:
    """Configuration and weights of a plain PEFT folder, whole."""
    contents = []
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        try:
            with (folder / name).open("rb") as stream:
                content = stream.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise AdapterRefused(f"{folder / name}: cannot be read: {error.strerror}") from None
        if len(content) > MAX_FILE_BYTES:
            raise AdapterRefused(f"{folder / name}: larger than {MAX_FILE_BYTES} bytes")
        contents.append(content)
    return contents[0], contents[1]


def _content_key(config: bytes, weights: bytes) -> str:
    return "peft-" + hashlib.sha256(hashlib.sha256(config).digest() + hashlib.sha256(weights).digest()).hexdigest()

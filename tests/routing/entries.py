"""Experts made up by a test, and catalogues and routers over them under the shipped fake encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from expert_system.domain import Digest
from expert_system.package.manifest import Manifest, dump_manifest
from expert_system.routing.catalog import Catalogue, Entry
from expert_system.routing.descriptors import NOT_KEPT, embedded
from expert_system.routing.router import Router, Source
from expert_system.testing.router import FakeEncoder, fake_calibration

BASE = Digest("b" * 64)


def make_entry(
    name: str,
    *,
    category: str = "tech",
    capabilities: Iterable[str] = (),
    base: str = BASE,
    rank: int = 8,
    version: str = "1.0.0",
    verified: bool = True,
    **changes: Any,
) -> Entry:
    """One expert by its manifest; `changes` go into `routing`, `composition` or `decoding` by name of the field."""
    order = {"format": 1, "language": 3, "tech": 5, "domain": 7, "task": 9}[category]
    routing = {"description": f"Does {name}.", "examples": [f"please {name}"]}
    composition: dict[str, Any] = {"category": category, "load_order": order}
    decoding: dict[str, Any] = {}
    for key, value in changes.items():
        place = (
            routing
            if key in {"description", "examples", "negative_examples", "keywords", "priority"}
            else composition
            if key in {"requires", "incompatible_with", "weight", "max_chain", "load_order"}
            else decoding
        )
        place[key] = value
    content = {
        "schema_version": "2.0",
        "name": f"expert-{name}",
        "version": version,
        "description": f"Does {name}.",
        "publisher": "example",
        "license": "MIT",
        "created_at": "2026-01-01T00:00:00Z",
        "base_models": [
            {
                "name": "tiny",
                "base_digest": base,
                "tokenizer_sha256": "0" * 64,
                "chat_template_sha256": "0" * 64,
                "validated_on": ["none"],
                "adapters": [
                    {"type": "lora", "path": "weights/tiny", "r": rank, "alpha": 16.0, "target_modules": ["q_proj"]}
                ],
            }
        ],
        "capabilities": list(capabilities),
        "routing": routing,
        "composition": composition,
        "decoding": decoding,
    }
    manifest = Manifest.model_validate(content, strict=False)
    digest = Digest(hashlib.sha256(dump_manifest(manifest)).hexdigest())
    return Entry(digest=digest, manifest=manifest, verified=verified)


def make_catalogue(entries: Iterable[Entry], encoder: FakeEncoder | None = None) -> Catalogue:
    """A catalogue under the fake encoder."""
    known = tuple(entries)
    return Catalogue(known, embedded(known, encoder or FakeEncoder(), NOT_KEPT))


def make_router(entries: Iterable[Entry], encoder: FakeEncoder | None = None, **options: Any) -> Router:
    """A router over these experts, ready."""
    known = tuple(entries)
    router = Router(encoder or FakeEncoder(), fake_calibration(), Source(entries=lambda: known), **options)
    router.refresh()
    return router

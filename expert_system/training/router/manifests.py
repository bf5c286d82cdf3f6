"""Manifests of the corpus' experts, so that they can stand in a catalogue beside real ones.

    Expert -> Manifest, bound to a base that does not exist

Promise: nothing but routing reads them; no package is made of them.
"""

from __future__ import annotations

import json

from expert_system.domain import Category
from expert_system.package.manifest import Manifest, parse_manifest
from expert_system.training.router.corpus import Expert

NO_DIGEST = "0" * 64


def manifest_of(expert: Expert) -> Manifest:
    """The manifest of an expert that exists as a description only."""
    content = {
        "schema_version": "2.0",
        "name": expert.name,
        "version": "1.0.0",
        "description": expert.description,
        "publisher": "router-corpus",
        "license": "MIT",
        "created_at": "2026-11-22T00:00:00Z",
        "base_models": [
            {
                "name": "none",
                "base_digest": NO_DIGEST,
                "tokenizer_sha256": NO_DIGEST,
                "chat_template_sha256": NO_DIGEST,
                "validated_on": ["none"],
                "adapters": [
                    {
                        "type": "lora",
                        "path": "weights/none",
                        "r": 8,
                        "alpha": 16.0,
                        "target_modules": ["q_proj"],
                    }
                ],
            }
        ],
        "capabilities": list(expert.capabilities),
        "routing": {
            "description": expert.description,
            "examples": list(expert.examples),
            "keywords": list(expert.keywords),
        },
        "composition": {"category": expert.category, "load_order": Category(expert.category).band[0]},
    }
    return parse_manifest(json.dumps(content).encode(), where=expert.name)

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from expert_system.training.provider_recipe import ProviderRecipe
from tests.training.providers.wire import KEY, Wire, serving


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """A provider on this machine, which the environment names for every SDK."""
    with serving() as server:
        for name in ("OPENAI", "DEEPSEEK", "ANTHROPIC"):
            path = "/v1" if name == "OPENAI" else ""
            monkeypatch.setenv(f"{name}_BASE_URL", server.url + path)
            monkeypatch.setenv(f"{name}_API_KEY", KEY)
        yield server


@pytest.fixture
def section() -> dict[str, Any]:
    """A small "dataset" section: 4 + 2 + 2 rows, two a request."""
    return {
        "generator": "openai",
        "model": "some-model",
        "seed": 1,
        "system": "You write questions.",
        "request": "Write {count} questions about {topic}, {difficulty}.",
        "topics": ["tides", "bread", "chess", "snow"],
        "difficulties": {"easy": 0.5, "hard": 0.5},
        "fields": {"question": "a question", "reply": "its reply"},
        "prompts": ["Answer briefly: {question}", "{question} Be brief."],
        "answer": "{reply}",
        "rows_per_request": 2,
        "max_output_tokens": 100,
        "price": {
            "input_per_million": 1000.0,
            "output_per_million": 2000.0,
            "currency": "USD",
            "as_of": "2026-11-01",
            "source": "made up for this test",
        },
        "limits": {"cost": 10.0, "concurrent": 2, "tries": 3},
        "train": {"count": 4},
        "validation": {"count": 2},
        "test": {"count": 2},
    }


@pytest.fixture
def recipe(section: dict[str, Any]) -> ProviderRecipe:
    return ProviderRecipe.model_validate(section)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out"

"""The plugin stands alone: vLLM's own offline LLM takes DoRA and IA³ folders, and without it stays as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import kit
import pytest
import tiny

from expert_system.domain import FinishReason, Usage

pytestmark = pytest.mark.engine

TIMEOUT_S = 300.0
PROMPT = [5, 17, 200, 31, 8, 99, 120, 77]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny base and PEFT folders of three kinds."""
    folder = tmp_path_factory.mktemp("plain")
    base = tiny.make_base(folder / "tiny-qwen3", "qwen3")
    configs = {"lora": tiny.lora(8), "ia3": tiny.ia3(), "dora": tiny.lora(4, use_dora=True)}
    made = {name: tiny.make_adapter(folder / name, base, config, seed=70) for name, config in configs.items()}
    return {"base": base, **made}


def run_plain(folders: dict[str, Path], *names: str, plugins: str | None) -> dict[str, Any]:
    """Run the plain program with or without our plugin."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("EXPERT_", "VLLM_"))}
    if plugins is not None:
        environment["VLLM_PLUGINS"] = plugins
    program = Path(__file__).with_name("plain_vllm.py")
    adapters = [str(folders[name]) for name in names]
    done = subprocess.run(
        [sys.executable, str(program), str(folders["base"]), json.dumps(PROMPT), *adapters],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    line = next((line for line in done.stdout.splitlines() if line.startswith("ANSWERS ")), None)
    assert line is not None, done.stdout[-3000:] + done.stderr[-3000:]
    answers: dict[str, Any] = json.loads(line.removeprefix("ANSWERS "))
    return {name: answers.get(str(folders[name])) for name in names}


def test_offline_llm_serves_lora_dora_and_ia3_folders(folders: dict[str, Path]) -> None:
    """A3, deliver 4: a plain LoRARequest(name, id, path) gives what PEFT gives, for each kind."""
    found = run_plain(folders, "lora", "ia3", "dora", plugins=None)

    for name, answer in found.items():
        said = kit.Answer(
            token_ids=tuple(answer["token_ids"]),
            logprobs=tuple(answer["logprobs"]),
            text="",
            finish_reason=FinishReason.LENGTH,
            usage=Usage(prompt_tokens=len(PROMPT), completion_tokens=16),
            attach_s=0.0,
        )
        model = tiny.peft_model(folders["base"], {name: folders[name]})
        assert kit.check_against(lambda ids, model=model: model(ids).logits, PROMPT, said) < kit.LOGPROB_TOLERANCE


def test_without_the_plugin_stock_vllm_refuses_dora(folders: dict[str, Path]) -> None:
    """A3: with VLLM_PLUGINS="" stock behaviour is untouched: the same program serves LoRA and refuses DoRA."""
    found = run_plain(folders, "lora", "dora", plugins="")

    assert len(found["lora"]["token_ids"]) == 16
    assert "refused" in found["dora"]

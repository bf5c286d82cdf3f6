"""Bad adapters cost their own request, with a sentence that names what is wrong, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kit
import pytest
import tiny
import torch
from peft import IA3Config
from safetensors.torch import load_file, save_file

from expert_system.engine.plugin.hostfiles import NORMS_FILE
from expert_system.errors import AdapterRefused, IntegrityError, PackageError

pytestmark = pytest.mark.engine

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
VOCABULARY = 256
Q_PROJ = "base_model.model.model.layers.0.self_attn.q_proj"


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Rewrite the weights after `change` had its way with them."""
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def change_config(folder: Path, **values: Any) -> None:
    """Set options in adapter_config.json."""
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | values))


def nan(tensors: dict[str, torch.Tensor]) -> None:
    """Put one NaN into one tensor."""
    tensors[f"{Q_PROJ}.lora_A.weight"][0, 0] = float("nan")


def zeros(tensors: dict[str, torch.Tensor]) -> None:
    """Make every lora_B zero."""
    for name, tensor in tensors.items():
        if "lora_B" in name:
            tensor.zero_()


def vocabulary(tensors: dict[str, torch.Tensor]) -> None:
    """Adapt the embedding."""
    tensors["base_model.model.lm_head.lora_A.weight"] = torch.ones(4, tiny.HIDDEN)


def truncate(folder: Path) -> None:
    """Cut the weights in the middle."""
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing file": (lambda f: (f / WEIGHTS).unlink(), WEIGHTS),
    "truncated": (truncate, "cut or padded"),
    "NaN": (lambda f: change_tensors(f, nan), r"q_proj\.lora_A\.weight.*NaN"),
    "all zeros": (lambda f: change_tensors(f, zeros), "all zeros"),
    "wrong shape": (
        lambda f: change_tensors(f, lambda t: t.update({f"{Q_PROJ}.lora_A.weight": torch.ones(4, 7)})),
        r"q_proj\.lora_A\.weight.*\[4, 7\]",
    ),
    "no such module": (
        lambda f: change_tensors(f, lambda t: t.update({"base_model.model.x.lora_A.weight": torch.ones(4, 4)})),
        r"'base_model\.model\.x\.lora_A\.weight' matches no linear module",
    ),
    "vocabulary": (lambda f: change_tensors(f, vocabulary), "only linear layers"),
    "half a pair": (lambda f: change_tensors(f, lambda t: t.pop(f"{Q_PROJ}.lora_B.weight")), "has no tensor 'lora_B"),
    "unsupported kind": (lambda f: change_config(f, peft_type="LOHA"), "peft_type 'LOHA' is not served"),
    "unsupported option": (lambda f: change_config(f, lora_bias=True), "lora_bias = true is not served"),
    "unknown option": (lambda f: change_config(f, shiny_new_option=3), "shiny_new_option = 3 is not served"),
    "changed base": (lambda f: change_config(f, init_lora_weights="pissa"), "'pissa' trains against a changed base"),
}


def spoiled(bench: kit.Bench, case: str) -> Path:
    """A PEFT folder with one thing wrong."""
    folder = bench.scratch / "bad" / case.replace(" ", "-")
    if not folder.exists():
        tiny.make_adapter(folder, bench.base, tiny.lora(4), seed=60)
        BAD[case][0](folder)
    return folder


def test_bad_adapters_leave_eight_other_streams_untouched(tiny_llama: kit.Bench) -> None:
    """A2, deliver 3: each bad adapter fails its request at the engine's own door; eight streams go on unchanged."""
    from vllm.lora.request import LoRARequest

    engine = tiny_llama.engine
    sets = [None, *(tiny_llama.set(f"lora-{i}") for i in range(7))]
    prompts = kit.prompts(8, 24, VOCABULARY, seed=34)
    requests = list(zip(prompts, sets, strict=True))
    expected = tiny_llama.run_all(*requests, max_tokens=96)
    said: dict[str, str] = {}

    async def refused(number: int, case: str) -> None:
        request = LoRARequest(case, 10_000 + number, str(spoiled(tiny_llama, case)))
        assert engine._llm is not None
        with pytest.raises(Exception) as caught:  # noqa: PT011 - vLLM's own error type, told below
            async for _ in engine._llm.generate(
                {"prompt_token_ids": prompts[0]}, sampling(), f"bad-{case}", lora_request=request
            ):
                pass
        said[case] = str(caught.value)

    def sampling() -> Any:
        from vllm.sampling_params import SamplingParams

        return SamplingParams(max_tokens=4)

    async def beside() -> list[kit.Answer]:
        streams = [asyncio.create_task(tiny_llama.run(p, s, max_tokens=96)) for p, s in requests]
        await asyncio.sleep(0.2)
        await asyncio.gather(*(refused(number, case) for number, case in enumerate(BAD)))
        return await asyncio.gather(*streams)

    found = kit.loop().run_until_complete(beside())

    assert [answer.token_ids for answer in found] == [answer.token_ids for answer in expected]
    for case, (_, pattern) in BAD.items():
        with pytest.raises(AdapterRefused, match=pattern):
            raise AdapterRefused(said[case])


@pytest.mark.parametrize("case", BAD)
def test_a_bad_adapter_is_refused_when_it_is_installed(tiny_llama: kit.Bench, case: str) -> None:
    """A2, deliver 3: costly checks run once, at install; nothing is stored."""
    before = tiny_llama.store.experts()
    folder = spoiled(tiny_llama, case)

    with pytest.raises((AdapterRefused, PackageError)):
        kit.install(tiny_llama.store, tiny_llama.base, "spoiled", folder)

    assert tiny_llama.store.experts() == before


def test_bytes_changed_in_the_store_are_refused_at_load(tiny_llama: kit.Bench) -> None:
    """formats.md 4.9: every cold load hashes the bytes it parses."""
    folder = tiny.make_adapter(tiny_llama.scratch / "flipped", tiny_llama.base, tiny.lora(4), seed=61)
    stored = tiny_llama.add("flipped", folder)
    weights = next(stored.path.rglob(WEIGHTS))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(content)
    (prompt,) = kit.prompts(1, 24, VOCABULARY)

    with pytest.raises(IntegrityError, match="is not what was installed"):
        tiny_llama.run_all((prompt, tiny_llama.set("flipped")))

    assert tiny_llama.run_all((prompt, None))[0].token_ids


def test_a_plain_folder_that_changed_under_its_name_is_refused(tiny_llama: kit.Bench) -> None:
    """vllm.md, Decided 2: changed content under a known name and path would get the old content's cache."""
    from vllm.lora.request import LoRARequest

    from expert_system.engine.plugin.hostfiles import HostFiles

    folder = tiny.make_adapter(tiny_llama.scratch / "plain", tiny_llama.base, tiny.lora(4), seed=62)
    request = LoRARequest("plain", 20_000, str(folder))

    def files() -> HostFiles:
        assert tiny_llama.engine._llm is not None
        return HostFiles.of_engine(tiny_llama.engine._llm.vllm_config)

    files().members(request)
    tiny.make_adapter(folder, tiny_llama.base, tiny.lora(4), seed=63)

    with pytest.raises(AdapterRefused, match="changed on disk since it was first loaded"):
        files().members(request)


def test_a_hub_name_is_never_accepted(tiny_llama: kit.Bench) -> None:
    """vllm.md, Decided 2: only stored experts and absolute folders."""
    from vllm.lora.request import LoRARequest

    from expert_system.engine.plugin.hostfiles import HostFiles

    assert tiny_llama.engine._llm is not None
    files = HostFiles.of_engine(tiny_llama.engine._llm.vllm_config)

    with pytest.raises(AdapterRefused, match="hub names are not accepted"):
        files.members(LoRARequest("x", 30_000, "someone/some-lora"))


def test_an_input_gate_that_differs_between_packed_modules_is_refused(tiny_llama: kit.Bench) -> None:
    """A3: vLLM computes gate_proj and up_proj from one packed input; the refusal names both."""
    config = IA3Config(
        target_modules=["gate_proj", "up_proj"], feedforward_modules=["gate_proj", "up_proj"], task_type="CAUSAL_LM"
    )
    folder = tiny.make_adapter(tiny_llama.scratch / "packed", tiny_llama.base, config, seed=64)
    tiny_llama.add("packed", folder)
    (prompt,) = kit.prompts(1, 24, VOCABULARY)

    with pytest.raises(AdapterRefused, match=r"input gate of .*gate_proj differs from that of .*up_proj"):
        tiny_llama.run_all((prompt, tiny_llama.set("packed")))


def test_an_input_gate_that_is_equal_in_packed_modules_is_served(tiny_llama: kit.Bench) -> None:
    """A3: the same gate on both is one gate on their input."""
    config = IA3Config(
        target_modules=["gate_proj", "up_proj"], feedforward_modules=["gate_proj", "up_proj"], task_type="CAUSAL_LM"
    )
    folder = tiny.make_adapter(tiny_llama.scratch / "same", tiny_llama.base, config, seed=65)

    def share(tensors: dict[str, torch.Tensor]) -> None:
        for name in tensors:
            tensors[name] = tensors[name.replace("gate_proj", "up_proj")].clone()

    change_tensors(folder, share)
    tiny_llama.add("same", folder)
    (prompt,) = kit.prompts(1, 24, VOCABULARY)
    (answer,) = tiny_llama.run_all((prompt, tiny_llama.set("same")))
    model = tiny.peft_model(tiny_llama.base, {"same": folder})

    assert kit.check_against(lambda ids: model(ids).logits, prompt, answer) < kit.LOGPROB_TOLERANCE


def test_kept_norms_are_used_and_wrong_ones_are_not(tiny_llama: kit.Bench) -> None:
    """vllm.md, Decided 6: derived data is checked on read, and computed anew when it was changed."""
    (prompt,) = kit.prompts(1, 24, VOCABULARY)
    composed = tiny_llama.set("dora-1")
    (before,) = tiny_llama.run_all((prompt, composed))
    (member,) = composed.expert_set.members
    derived = tiny_llama.store.derived
    kept = derived.read(member.expert, composed.expert_set.base, NORMS_FILE)
    assert kept is not None
    file = next((tiny_llama.store.home.root / "derived" / member.expert).rglob(NORMS_FILE))
    file.write_bytes(kept[:-4] + bytes(4))

    assert derived.read(member.expert, composed.expert_set.base, NORMS_FILE) is None
    kit.loop().run_until_complete(tiny_llama.engine.unload(composed.expert_set.digest))
    assert tiny_llama.run_all((prompt, composed))[0].token_ids == before.token_ids
    assert derived.read(member.expert, composed.expert_set.base, NORMS_FILE) == kept

"""A plain vLLM program: nothing in it knows of the Expert System. Prints token ids, or vLLM's refusal, as JSON.

Usage: plain_vllm.py BASE PROMPT_IDS FOLDER...
"""

from __future__ import annotations

import json
import sys

if __name__ == "__main__":
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    base, prompt, *folders = sys.argv[1:]
    llm = LLM(
        base,
        enable_lora=True,
        max_loras=2,
        max_lora_rank=16,
        dtype="float32",
        enforce_eager=True,
        max_model_len=256,
        kv_cache_memory_bytes=2**26,
    )
    answers: dict[str, object] = {}
    for number, folder in enumerate(folders, start=1):
        try:
            (output,) = llm.generate(
                {"prompt_token_ids": json.loads(prompt)},
                SamplingParams(temperature=0.0, max_tokens=16, ignore_eos=True, logprobs=0),
                lora_request=LoRARequest(f"adapter-{number}", number, folder),
                use_tqdm=False,
            )
        except Exception as error:  # noqa: BLE001 - whatever vLLM says is what the test wants to see
            answers[folder] = {"refused": f"{type(error).__name__}: {error}"}
            break  # stock vLLM does not survive a bad adapter
        chosen = output.outputs[0]
        logprobs = [entry[token].logprob for entry, token in zip(chosen.logprobs, chosen.token_ids, strict=True)]
        answers[folder] = {"token_ids": list(chosen.token_ids), "logprobs": logprobs}
    sys.stdout.write(f"\nANSWERS {json.dumps(answers)}\n")

"""Between our words and vLLM's: sampling parameters in, deltas and the summary out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from expert_system.domain import Delta, FinishReason, Grammar, GrammarType, Sampling, TokenLogprob, Usage
from expert_system.engine.interface import Finished
from expert_system.errors import EngineError

if TYPE_CHECKING:
    from vllm.outputs import RequestOutput
    from vllm.sampling_params import SamplingParams

_SAME_NAME = (
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "ignore_eos",
    "logprobs",
)
_STRUCTURED = {
    GrammarType.JSON_SCHEMA: "json",
    GrammarType.REGEX: "regex",
    GrammarType.EBNF: "grammar",
    GrammarType.CHOICE: "choice",
}


def sampling_params(sampling: Sampling) -> SamplingParams:
    """vLLM's parameters for ours; what is None stays vLLM's default."""
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    given = {name: value for name in _SAME_NAME if (value := getattr(sampling, name)) is not None}
    if sampling.stop is not None:
        given["stop"] = list(sampling.stop)
    if sampling.grammar is not None:
        given["structured_outputs"] = _structured(sampling.grammar)
    return SamplingParams(output_kind=RequestOutputKind.DELTA, **given)


def _structured(grammar: Grammar) -> Any:
    from vllm.sampling_params import StructuredOutputsParams

    source: Any = grammar.source.split("\n") if grammar.type is GrammarType.CHOICE else grammar.source
    return StructuredOutputsParams(**{_STRUCTURED[grammar.type]: source})


def events(output: RequestOutput, attach_s: float, virtual_tokens: int) -> Iterator[Delta | Finished]:
    """Our events for one of vLLM's outputs."""
    completion = output.outputs[0]
    if completion.text or completion.token_ids:
        yield Delta(
            text=completion.text,
            token_ids=tuple(completion.token_ids),
            logprobs=_logprobs(completion.token_ids, completion.logprobs),
        )
    if output.finished:
        yield _finished(output, attach_s, virtual_tokens)


def _logprobs(token_ids: Any, logprobs: Any) -> tuple[TokenLogprob, ...]:
    if not logprobs:
        return ()
    return tuple(
        TokenLogprob(
            token_id=token_id,
            logprob=found[token_id].logprob,
            top=tuple((other, entry.logprob) for other, entry in found.items() if other != token_id),
        )
        for token_id, found in zip(token_ids, logprobs, strict=True)
    )


def _finished(output: RequestOutput, attach_s: float, virtual_tokens: int) -> Finished:
    reason = output.outputs[0].finish_reason
    if reason not in set(FinishReason):
        raise EngineError(f"vLLM ended request {output.request_id} with {reason!r}; its log says why")
    stats: Any = output.metrics
    return Finished(
        finish_reason=FinishReason(reason),
        usage=Usage(
            prompt_tokens=len(output.prompt_token_ids or ()) - virtual_tokens,
            completion_tokens=stats.num_generation_tokens,
            cached_tokens=output.num_cached_tokens or 0,
            virtual_tokens=virtual_tokens,
        ),
        attach_s=attach_s,
        queue_s=max(0.0, stats.scheduled_ts - stats.queued_ts),
        prefill_s=max(0.0, stats.first_token_ts - stats.scheduled_ts),
        decode_s=max(0.0, stats.last_token_ts - stats.first_token_ts),
    )

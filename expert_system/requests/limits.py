"""Every bound on what a caller may ask, checked before the engine hears of the request.

    Generation -> check() -> nothing, or InvalidRequest that names the field

Promise: whatever passes is finite, within its range and of bounded size; each limit is a named number.
"""

from __future__ import annotations

import json
import math
import re

from expert_system.domain import MAX_EXPERTS, Generation, Grammar, GrammarType, Message, RouteWish, Sampling
from expert_system.errors import InvalidRequest

MAX_PROMPT_BYTES = 4 * 1024 * 1024
"""UTF-8 bytes of a prompt or of all messages together; the longest context of the mission takes about a quarter."""
MAX_MESSAGES = 1024
MAX_TEMPERATURE = 2.0
MAX_REPETITION_PENALTY = 2.0
MAX_PENALTY = 2.0
"""Presence and frequency penalty lie within plus and minus this."""
MAX_STOPS = 16
MAX_STOP_CHARS = 256
MAX_LOGPROBS = 20
MAX_GRAMMAR_BYTES = 256 * 1024
MAX_CHOICES = 1024
MAX_TOKENS = 2**31 - 1
LEAST_URGENT = 9
MAX_EXCLUDED = 1024

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/-]{1,128}")
_GRAMMAR_FIELDS = {
    GrammarType.JSON_SCHEMA: "sampling_params.structured_outputs.json",
    GrammarType.REGEX: "sampling_params.structured_outputs.regex",
    GrammarType.EBNF: "sampling_params.structured_outputs.grammar",
    GrammarType.CHOICE: "sampling_params.structured_outputs.choice",
}


def check(generation: Generation) -> None:
    """Refuse a request with a field out of bounds.

    Raises:
        InvalidRequest: naming the first such field by its path in `GenerateRequest`.
    """
    if _REQUEST_ID.fullmatch(generation.request_id) is None:
        raise InvalidRequest("request_id", "must be 1 to 128 letters, digits and . _ : / -")
    if not 0 <= generation.priority <= LEAST_URGENT:
        raise InvalidRequest("priority", f"{generation.priority} is not within 0 (most urgent) and {LEAST_URGENT}")
    _check_input(generation)
    _check_experts(generation)
    check_wish(generation.routing)
    if generation.experts and (generation.routing.force or generation.routing.enabled):
        raise InvalidRequest("routing", "is given together with experts; name the experts, or let the router choose")
    check_sampling(generation.sampling)


def check_wish(wish: RouteWish) -> None:
    """Refuse a wish to the router that is out of bounds.

    Raises:
        InvalidRequest: naming the field.
    """
    if wish.max_experts is not None and not 0 <= wish.max_experts <= MAX_EXPERTS:
        raise InvalidRequest("routing.max_experts", f"{wish.max_experts} is not within 0 and {MAX_EXPERTS}")
    if len(wish.force) > MAX_EXPERTS:
        raise InvalidRequest("routing.force", f"{len(wish.force)} experts; at most {MAX_EXPERTS} can run together")
    if wish.force and wish.enabled is False:
        raise InvalidRequest("routing.force", "is given, but routing.enabled is false")
    names = [reference.name for reference in wish.force]
    for name in names:
        if names.count(name) > 1:
            raise InvalidRequest("routing.force", f"{name} occurs twice; name it once")
        if name in wish.exclude:
            raise InvalidRequest("routing.force", f"{name} is excluded as well; choose one of the two")
    if wish.max_experts is not None and len(names) > wish.max_experts:
        raise InvalidRequest(
            "routing.max_experts", f"{wish.max_experts} are fewer than the {len(names)} that routing.force names"
        )
    if len(wish.exclude) > MAX_EXCLUDED:
        raise InvalidRequest("routing.exclude", f"has {len(wish.exclude)} names; at most {MAX_EXCLUDED} are read")


def check_sampling(sampling: Sampling) -> None:
    """Refuse sampling parameters out of range.

    Raises:
        InvalidRequest: naming the parameter.
    """
    _within("max_tokens", sampling.max_tokens, 1, MAX_TOKENS)
    _within("temperature", sampling.temperature, 0, MAX_TEMPERATURE)
    _within("top_p", sampling.top_p, 0, 1, above=True)
    _within("top_k", sampling.top_k, -1, MAX_TOKENS)
    _within("min_p", sampling.min_p, 0, 1)
    _within("repetition_penalty", sampling.repetition_penalty, 0, MAX_REPETITION_PENALTY, above=True)
    _within("presence_penalty", sampling.presence_penalty, -MAX_PENALTY, MAX_PENALTY)
    _within("frequency_penalty", sampling.frequency_penalty, -MAX_PENALTY, MAX_PENALTY)
    _within("logprobs", sampling.logprobs, 0, MAX_LOGPROBS)
    if sampling.stop is not None:
        _check_stop(sampling.stop)
    if sampling.grammar is not None:
        check_grammar(sampling.grammar)


def check_grammar(grammar: Grammar) -> None:
    """Refuse a grammar that is empty, too large or, for a JSON Schema, not JSON.

    Raises:
        InvalidRequest: naming the kind of grammar; what only the engine's compiler can tell is left to it.
    """
    field = _GRAMMAR_FIELDS[grammar.type]
    if not grammar.source.strip():
        raise InvalidRequest(field, "is empty")
    size = len(grammar.source.encode())
    if size > MAX_GRAMMAR_BYTES:
        raise InvalidRequest(field, f"has {size:,} bytes; at most {MAX_GRAMMAR_BYTES:,} are read")
    if grammar.type is GrammarType.CHOICE and len(grammar.source.splitlines()) > MAX_CHOICES:
        raise InvalidRequest(field, f"has more than {MAX_CHOICES} values")
    if grammar.type is GrammarType.JSON_SCHEMA:
        try:
            schema = json.loads(grammar.source)
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(field, f"is not JSON: {error}") from None
        if not isinstance(schema, dict):
            raise InvalidRequest(field, "must be a JSON object")


def _check_input(generation: Generation) -> None:
    """Exactly one kind of input, not empty and of bounded size."""
    if generation.prompt is None:
        _check_messages(generation.messages)
        return
    if generation.messages:
        raise InvalidRequest("prompt", "is given together with messages; give one of the two")
    if not generation.prompt:
        raise InvalidRequest("prompt", "is empty")
    _check_size("prompt", len(generation.prompt.encode()))


def _check_messages(messages: tuple[Message, ...]) -> None:
    if not messages:
        raise InvalidRequest("prompt", "is missing; give prompt or chat.messages")
    if len(messages) > MAX_MESSAGES:
        raise InvalidRequest("chat.messages", f"has {len(messages)} messages; at most {MAX_MESSAGES} are read")
    for index, message in enumerate(messages):
        if not message.content:
            raise InvalidRequest(f"chat.messages[{index}].content", "is empty")
    _check_size("chat.messages", sum(len(message.content.encode()) for message in messages))


def _check_size(field: str, size_bytes: int) -> None:
    if size_bytes > MAX_PROMPT_BYTES:
        raise InvalidRequest(field, f"has {size_bytes:,} bytes; at most {MAX_PROMPT_BYTES:,} are read")


def _check_experts(generation: Generation) -> None:
    """At most ten experts, each once (before any look-up; `engine.sets` checks again)."""
    if len(generation.experts) > MAX_EXPERTS:
        raise InvalidRequest("experts", f"{len(generation.experts)} experts; at most {MAX_EXPERTS} can run together")
    names = [reference.name for reference in generation.experts]
    for name in names:
        if names.count(name) > 1:
            raise InvalidRequest("experts", f"{name} occurs twice; name it once and give it a weight")


def _check_stop(stop: tuple[str, ...]) -> None:
    if len(stop) > MAX_STOPS:
        raise InvalidRequest("sampling_params.stop", f"has {len(stop)} strings; at most {MAX_STOPS} are watched for")
    for index, text in enumerate(stop):
        if not 1 <= len(text) <= MAX_STOP_CHARS:
            raise InvalidRequest(
                f"sampling_params.stop[{index}]", f"has {len(text)} characters; 1 to {MAX_STOP_CHARS} are allowed"
            )


def _within(name: str, value: float | None, low: float, high: float, *, above: bool = False) -> None:
    """Refuse a number that is not finite or out of its range; `above` leaves the low end out."""
    if value is None:
        return
    fits = math.isfinite(value) and (low < value if above else low <= value) and value <= high
    if not fits:
        lowest = f"above {low:g}" if above else f"at least {low:g}"
        raise InvalidRequest(f"sampling_params.{name}", f"{value:g} must be {lowest} and at most {high:g}")

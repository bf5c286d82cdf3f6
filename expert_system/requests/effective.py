"""The sampling parameters that a request really runs with, and who set each of them.

    request over experts' manifests (later category first) over the router over server defaults -> Effective

Promise: every parameter that the engine receives has exactly one named source.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from expert_system.domain import Grammar, Message, Role, Sampling
from expert_system.errors import InvalidRequest, PackageError
from expert_system.package.stored import StoredExpert

DEFAULT_MAX_TOKENS = 1024
"""Tokens produced at most when nobody says otherwise and the context has room for them."""

SERVER_DEFAULTS = Sampling(
    max_tokens=DEFAULT_MAX_TOKENS,
    temperature=0.0,
    top_p=1.0,
    top_k=0,
    min_p=0.0,
    repetition_penalty=1.0,
    presence_penalty=0.0,
    frequency_penalty=0.0,
    ignore_eos=False,
)
"""Greedy, so that the same request gets the same answer until somebody asks for variety."""
NOTHING_SUGGESTED = Sampling()


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """Sampling parameters with the source of each that is set."""

    sampling: Sampling
    sources: Mapping[str, str]

    def described(self) -> dict[str, str]:
        """Each parameter as `value (source)`, as a plan shows it."""
        return {name: f"{_shown(getattr(self.sampling, name))} ({source})" for name, source in self.sources.items()}


def effective(request: Sampling, experts: Sequence[StoredExpert], suggested: Sampling = NOTHING_SUGGESTED) -> Effective:
    """Lay the layers over each other.

    Args:
        request: what the caller set.
        experts: in load order; the last one, of the latest category, wins among them (mission.md).
        suggested: what the router would set for this kind of task.
    """
    layers = [
        ("request", request),
        *((f"expert {expert.manifest.name}", decoding(expert)) for expert in reversed(experts)),
        ("router", suggested),
        ("server", SERVER_DEFAULTS),
    ]
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    for source, layer in layers:
        for field in dataclasses.fields(Sampling):
            value = getattr(layer, field.name)
            if value is not None and field.name not in values:
                values[field.name], sources[field.name] = value, source
    return Effective(sampling=Sampling(**values), sources=sources)  # type: ignore[arg-type]


def decoding(expert: StoredExpert) -> Sampling:
    """The defaults of an expert's manifest (formats.md 1.7), its grammar read from the package.

    Raises:
        PackageError: the grammar is not text.
        IntegrityError: its bytes are not those that were installed.
    """
    wanted = expert.manifest.decoding
    grammar = None
    if wanted.grammar is not None:
        try:
            grammar = Grammar(type=wanted.grammar.type, source=expert.read(wanted.grammar.path).decode())
        except UnicodeDecodeError:
            raise PackageError(f"{wanted.grammar.path} of {expert.manifest.name} is not UTF-8 text") from None
    return Sampling(
        max_tokens=wanted.max_tokens,
        temperature=wanted.temperature,
        top_p=wanted.top_p,
        top_k=wanted.top_k,
        min_p=wanted.min_p,
        repetition_penalty=wanted.repetition_penalty,
        stop=wanted.stop,
        grammar=grammar,
    )


def templated(
    messages: Sequence[Message], experts: Sequence[StoredExpert], base_digest: str
) -> tuple[tuple[Message, ...], str | None]:
    """Put the winning expert's prompt template around the last user message (formats.md 1.3).

    Args:
        messages: the chat; a raw prompt is never touched.
        experts: in load order; the last one that has a template wins.
        base_digest: the base whose template counts.

    Returns:
        The messages, and the source of the template where there is one.
    """
    for expert in reversed(experts):
        binding = expert.manifest.binding_for(base_digest)
        if binding is None or binding.prompt_template is None:
            continue
        for index in reversed(range(len(messages))):
            if messages[index].role is Role.USER:
                content = binding.prompt_template.replace("{prompt}", messages[index].content, 1)
                changed = Message(role=Role.USER, content=content)
                return (*messages[:index], changed, *messages[index + 1 :]), f"expert {expert.manifest.name}"
    return tuple(messages), None


def fit_max_tokens(found: Effective, *, prompt_tokens: int, virtual_tokens: int, context_tokens: int) -> Effective:
    """Make the prompt and the answer fit into the context.

    What the caller asked for is kept or refused, never shortened; a default is shortened to what fits.

    Raises:
        InvalidRequest: naming the field to change, with the figures.
    """
    taken = prompt_tokens + virtual_tokens
    room = context_tokens - taken
    soft = f" and {virtual_tokens} virtual tokens of soft prompts" if virtual_tokens else ""
    figures = f"{prompt_tokens:,} tokens{soft}; the context holds {context_tokens:,}"
    if room < 1:
        raise InvalidRequest("prompt", f"has {figures} and must leave room for the answer")
    wanted = found.sampling.max_tokens or DEFAULT_MAX_TOKENS
    if wanted <= room:
        return found
    source = found.sources["max_tokens"]
    if source == "request":
        raise InvalidRequest(
            "sampling_params.max_tokens", f"{wanted:,} do not fit after a prompt of {figures}; at most {room:,} do"
        )
    return Effective(
        sampling=dataclasses.replace(found.sampling, max_tokens=room),
        sources={**found.sources, "max_tokens": f"{source}, shortened to the context"},
    )


def _shown(value: object) -> str:
    if isinstance(value, Grammar):
        return value.type.value
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ", ".join(repr(text) for text in value)
    return str(value).lower() if isinstance(value, bool) else str(value)

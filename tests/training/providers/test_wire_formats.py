"""Each SDK against a server that speaks its wire format: what is sent, what is read, what is said of failures."""

from __future__ import annotations

import json
from typing import Any

import pytest

from expert_system.errors import ConfigError, ProviderBusy, ProviderRefused
from expert_system.training.providers import KEYS, open_provider
from expert_system.training.providers.interface import Ask, Reply
from tests.training.providers.wire import INPUT_TOKENS, KEY, OUTPUT_TOKENS, Fault, Wire

SCHEMA = {
    "type": "object",
    "properties": {"rows": {"type": "array", "items": {"type": "object"}}},
    "required": ["rows"],
    "additionalProperties": False,
}
PROVIDERS = sorted(KEYS)


def question(provider: str) -> Ask:
    return Ask(
        provider=provider,
        model="some-model",
        system="You write questions.",
        user="Write 2 questions.",
        schema=SCHEMA,
        temperature=0.5,
        max_output_tokens=64,
        seed=7,
    )


async def asked(provider: str) -> Reply:
    opened = open_provider(provider)
    try:
        return await opened.ask(question(provider))
    finally:
        await opened.close()


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_an_answer_is_rows_and_counted_tokens(wire: Wire, provider: str) -> None:
    """Whoever answers, a reply is JSON text with the provider's own count of tokens and name of the model."""
    reply = await asked(provider)

    assert 2 == len(json.loads(reply.text)["rows"])
    assert ("stop", "some-model-served") == (reply.finish, reply.model)
    assert (INPUT_TOKENS, OUTPUT_TOKENS) == (reply.input_tokens, reply.output_tokens)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_request_is_structured_as_its_provider_supports(wire: Wire, provider: str) -> None:
    """OpenAI: strict JSON schema and seed; DeepSeek: JSON mode with the schema in words; Anthropic: a forced tool."""
    await asked(provider)
    (request,) = wire.requests
    body: dict[str, Any] = request["body"]

    assert 0.5 == body["temperature"]
    match provider:
        case "openai":
            wanted = {"name": "rows", "strict": True, "schema": SCHEMA}
            assert "/v1/chat/completions" == request["path"]
            assert {"type": "json_schema", "json_schema": wanted} == body["response_format"]
            assert (64, 7) == (body["max_completion_tokens"], body["seed"])
        case "deepseek":
            assert "/chat/completions" == request["path"]
            assert {"type": "json_object"} == body["response_format"]
            assert json.dumps(SCHEMA) in body["messages"][0]["content"]
            assert 64 == body["max_tokens"]
            assert "seed" not in body
        case _:
            assert "/v1/messages" == request["path"]
            assert SCHEMA == body["tools"][0]["input_schema"]
            assert {"type": "tool", "name": body["tools"][0]["name"]} == body["tool_choice"]
            assert 64 == body["max_tokens"]


async def test_deepseek_hears_nothing_of_an_openai_account(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK would send OPENAI_ORG_ID and OPENAI_PROJECT_ID to whomever it speaks to."""
    monkeypatch.setenv("OPENAI_ORG_ID", "org-ours")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-ours")

    await asked("deepseek")

    assert "ours" not in json.dumps(wire.requests[0]["headers"])


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500, body='{"error": {"message": "our fault"}}'),
        Fault(status=503, body="<html>gateway</html>", headers={"content-type": "text/html"}),
        Fault(status=529, body='{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}'),
        Fault(status=429, body='{"error": {"message": "slow down"}}'),
        Fault(cut=True),
        Fault(body='{"choices": [{"mess'),
        Fault(body='{"hello": "world"}'),
        Fault(body="[]"),
        Fault(body="fine", headers={"content-type": "text/plain"}),
    ],
    ids=["500", "503 page", "529", "429", "truncated body", "half JSON", "other object", "list", "text"],
)
async def test_what_may_pass_is_busy_and_sent_once(wire: Wire, provider: str, fault: Fault) -> None:
    """One call is one request: the SDK's own retries are off, so that our limits count every request."""
    wire.faults.append(fault)

    with pytest.raises(ProviderBusy, match=provider):
        await asked(provider)

    assert 1 == len(wire.requests)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_retry_after_is_read(wire: Wire, provider: str) -> None:
    """A provider that says how long to wait is listened to."""
    wire.faults.append(Fault(status=429, body='{"error": {"message": "slow"}}', headers={"Retry-After": "17"}))

    with pytest.raises(ProviderBusy) as caught:
        await asked(provider)

    assert 17.0 == caught.value.retry_after_s


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422])
async def test_what_will_not_pass_is_refused_and_the_key_does_not_show(wire: Wire, provider: str, status: int) -> None:
    """A provider may repeat the key in its error; our message, its cause and its arguments do not."""
    wire.faults.append(Fault(status=status, body='{"error": {"message": "no: {authorization}"}}'))

    with pytest.raises(ProviderRefused, match=str(status)) as caught:
        await asked(provider)

    error = caught.value
    assert "no: " in str(error)
    assert KEY not in repr(error) + str(error)
    assert error.__cause__ is None
    assert error.__suppress_context__


async def test_an_empty_account_is_not_waited_for(wire: Wire) -> None:
    """OpenAI says 429 both for "slow down" and for "no money"; only the first passes."""
    wire.faults.append(Fault(status=429, body='{"error": {"message": "pay", "code": "insufficient_quota"}}'))

    with pytest.raises(ProviderRefused, match="credit"):
        await asked("openai")


@pytest.mark.parametrize(
    ("provider", "finish", "expected"),
    [
        ("openai", "length", "length"),
        ("openai", "content_filter", "refusal"),
        ("deepseek", "insufficient_system_resource", "insufficient_system_resource"),
        ("anthropic", "max_tokens", "length"),
        ("anthropic", "refusal", "refusal"),
    ],
)
async def test_an_answer_that_ends_early_says_so(wire: Wire, provider: str, finish: str, expected: str) -> None:
    """It was paid for, so it is an answer; why it ended decides whether its rows are read."""
    wire.faults.append(Fault(finish=finish))

    assert expected == (await asked(provider)).finish


async def test_an_anthropic_answer_without_the_tool_is_empty(wire: Wire) -> None:
    """Words instead of the tool's input are paid for and hold no rows."""
    wire.faults.append(Fault(text="I would rather not", finish="end_turn"))

    assert "" == (await asked("anthropic")).text


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_missing_key_names_its_variable(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys come from the environment and nowhere else."""
    monkeypatch.delenv(KEYS[provider], raising=False)

    with pytest.raises(ConfigError, match=KEYS[provider]):
        open_provider(provider)

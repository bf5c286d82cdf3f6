"""Every bad input gets its own status and a message that names the field, before it reaches the engine."""

from __future__ import annotations

import math
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from expert_system.app import Running
from expert_system.requests import limits
from expert_system.rpc.pb.expert.v1 import inference_pb2, inference_pb2_grpc, types_pb2
from expert_system.rpc.status import DETAILS_KEY
from expert_system.testing.engine import FakeEngine

pb = inference_pb2.GenerateRequest
Params = types_pb2.SamplingParams
Ref = types_pb2.ExpertRef


def params(**values: Any) -> inference_pb2.GenerateRequest:
    return pb(prompt="hello", sampling_params=Params(**values))


def structured(**values: Any) -> inference_pb2.GenerateRequest:
    return params(structured_outputs=types_pb2.StructuredOutputs(**values))


def chat(*messages: types_pb2.Message) -> inference_pb2.GenerateRequest:
    return pb(chat=inference_pb2.Chat(messages=messages))


USER = types_pb2.ROLE_USER
BAD: dict[str, tuple[inference_pb2.GenerateRequest, str]] = {
    "no input": (pb(), "prompt"),
    "empty prompt": (pb(prompt=""), "prompt"),
    "no messages": (chat(), "prompt"),
    "empty message": (chat(types_pb2.Message(role=USER)), "chat.messages[0].content"),
    "no role": (chat(types_pb2.Message(content="x")), "chat.messages[0].role"),
    "unknown role": (
        chat(
            types_pb2.Message(role=99, content="x")  # type: ignore[arg-type]
        ),
        "chat.messages[0].role",
    ),
    "too many messages": (
        chat(*[types_pb2.Message(role=USER, content="x")] * (limits.MAX_MESSAGES + 1)),
        "chat.messages",
    ),
    "10 MB prompt": (pb(prompt="x" * 10_000_000), "prompt"),
    "10 MB message": (chat(types_pb2.Message(role=USER, content="x" * 10_000_000)), "chat.messages"),
    "prompt longer than the context": (pb(prompt="x" * 5000), "prompt"),
    "no room for the answer": (
        pb(prompt="x" * 4000, sampling_params=Params(max_tokens=200)),
        "sampling_params.max_tokens",
    ),
    "11 experts": (pb(prompt="x", experts=[Ref(name=f"e{n}") for n in range(11)]), "experts"),
    "the same expert twice": (pb(prompt="x", experts=[Ref(name="sql"), Ref(name="expert-sql")]), "experts"),
    "nameless expert": (pb(prompt="x", experts=[Ref()]), "experts"),
    "path as an expert": (pb(prompt="x", experts=[Ref(name="../../etc")]), "experts"),
    "broken version": (pb(prompt="x", experts=[Ref(name="sql", version="latest")]), "experts"),
    "weight 0": (pb(prompt="x", experts=[Ref(name="sql", weight=0)]), "experts"),
    "negative weight": (pb(prompt="x", experts=[Ref(name="sql", weight=-1)]), "experts"),
    "weight NaN": (pb(prompt="x", experts=[Ref(name="sql", weight=math.nan)]), "experts"),
    "weight 5": (pb(prompt="x", experts=[Ref(name="sql", weight=5)]), "experts"),
    "temperature 3": (params(temperature=3), "sampling_params.temperature"),
    "temperature below 0": (params(temperature=-0.1), "sampling_params.temperature"),
    "temperature NaN": (params(temperature=math.nan), "sampling_params.temperature"),
    "temperature infinite": (params(temperature=math.inf), "sampling_params.temperature"),
    "top_p 0": (params(top_p=0), "sampling_params.top_p"),
    "top_p 2": (params(top_p=2), "sampling_params.top_p"),
    "top_p NaN": (params(top_p=math.nan), "sampling_params.top_p"),
    "top_k -2": (params(top_k=-2), "sampling_params.top_k"),
    "min_p 2": (params(min_p=2), "sampling_params.min_p"),
    "repetition_penalty 0": (params(repetition_penalty=0), "sampling_params.repetition_penalty"),
    "presence_penalty 3": (params(presence_penalty=3), "sampling_params.presence_penalty"),
    "frequency_penalty -3": (params(frequency_penalty=-3), "sampling_params.frequency_penalty"),
    "max_tokens 0": (params(max_tokens=0), "sampling_params.max_tokens"),
    "max_tokens below 0": (params(max_tokens=-1), "sampling_params.max_tokens"),
    "17 stop strings": (params(stop=["x"] * 17), "sampling_params.stop"),
    "empty stop string": (params(stop=["ok", ""]), "sampling_params.stop[1]"),
    "long stop string": (params(stop=["x" * 1000]), "sampling_params.stop[0]"),
    "21 logprobs": (params(logprobs=21), "sampling_params.logprobs"),
    "no constraint": (structured(), "sampling_params.structured_outputs"),
    "schema not JSON": (structured(json="{"), "sampling_params.structured_outputs.json"),
    "schema not an object": (structured(json="[]"), "sampling_params.structured_outputs.json"),
    "deep schema": (structured(json="[" * 100_000), "sampling_params.structured_outputs.json"),
    "empty regex": (structured(regex=""), "sampling_params.structured_outputs.regex"),
    "large grammar": (structured(grammar="x" * 300_000), "sampling_params.structured_outputs.grammar"),
    "no choices": (structured(choice=types_pb2.Choice()), "sampling_params.structured_outputs.choice"),
    "choice of two lines": (
        structured(choice=types_pb2.Choice(values=["a\nb"])),
        "sampling_params.structured_outputs.choice.values[0]",
    ),
    "priority 10": (pb(prompt="x", priority=10), "priority"),
    "priority below 0": (pb(prompt="x", priority=-1), "priority"),
    "request id of two lines": (pb(prompt="x", request_id="a\nb"), "request_id"),
    "long request id": (pb(prompt="x", request_id="a" * 200), "request_id"),
}


@pytest.fixture
async def server(start: Any) -> Any:
    async with start() as found:
        yield found


def trailing(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    metadata: Any = error.trailing_metadata() or ()
    return dict(metadata)


async def refusal(server: Running, request: inference_pb2.GenerateRequest) -> tuple[grpc.aio.AioRpcError, list[Any]]:
    """The error of a call and its details, unpacked."""
    async with grpc.aio.insecure_channel(server.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            async for _ in inference_pb2_grpc.InferenceServiceStub(channel).Generate(request):  # type: ignore[no-untyped-call]
                pass
    error = raised.value
    status = status_pb2.Status.FromString(trailing(error)[DETAILS_KEY])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    kinds = (
        error_details_pb2.ErrorInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.ResourceInfo,
        error_details_pb2.RetryInfo,
    )
    found = []
    for detail in status.details:
        kind = next(kind for kind in kinds if detail.Is(kind.DESCRIPTOR))
        message = kind()
        detail.Unpack(message)
        found.append(message)
    return error, found


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_field_is_named(case: str, server: Running, engine: FakeEngine) -> None:
    """INVALID_ARGUMENT, the field in the message and in BadRequest, an ErrorInfo, and nothing in the engine."""
    request, field = BAD[case]

    error, (info, bad) = await refusal(server, request)

    assert grpc.StatusCode.INVALID_ARGUMENT is error.code()
    assert (error.details() or "").startswith(f"{field}: ")
    assert ("INVALID_REQUEST", "expert-system") == (info.reason, info.domain)
    assert field == bad.field_violations[0].field
    assert [] == engine.seen


async def test_a_prompt_too_long_is_told_with_figures(server: Running) -> None:
    """The caller learns how long the prompt is and how long it may be."""
    error, _ = await refusal(server, pb(prompt="x" * 5000))

    assert "prompt: has 5,000 tokens; the context holds 4,096 and must leave room for the answer" == error.details()


async def test_an_unknown_expert_is_not_found(server: Running) -> None:
    """NOT_FOUND with ResourceInfo, and the message says what to do."""
    error, (info, resource) = await refusal(server, pb(prompt="x", experts=[Ref(name="nope", version="1.2.3")]))

    assert grpc.StatusCode.NOT_FOUND is error.code()
    assert "expert-cli install expert-nope@1.2.3" in (error.details() or "")
    assert ("UNKNOWN_EXPERT", "expert", "expert-nope@1.2.3") == (
        info.reason,
        resource.resource_type,
        resource.resource_name,
    )


async def test_an_expert_of_another_base_is_a_failed_precondition(server: Running) -> None:
    """FAILED_PRECONDITION: the request is well formed, this server is the wrong one."""
    error, (info,) = await refusal(server, pb(prompt="x", experts=[Ref(name="other-base")]))

    assert (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_BASE") == (error.code(), info.reason)


async def test_an_unverified_expert_is_refused_without_dev(start: Any) -> None:
    """formats.md 4: what `install --dev` stored runs only on a server started with --dev."""
    async with start(dev=False) as server:
        error, (info,) = await refusal(server, pb(prompt="x", experts=[Ref(name="sql")]))

    assert (grpc.StatusCode.FAILED_PRECONDITION, "UNVERIFIED") == (error.code(), info.reason)
    assert "start the server with --dev" in (error.details() or "")


async def test_a_full_engine_says_when_to_come_back(server: Running, engine: FakeEngine) -> None:
    """RESOURCE_EXHAUSTED with RetryInfo and grpc-retry-pushback-ms."""
    engine.full = True

    error, (info, retry) = await refusal(server, pb(prompt="x"))

    assert (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED") == (error.code(), info.reason)
    assert 500 == retry.retry_delay.ToMilliseconds()
    assert "500" == trailing(error)["grpc-retry-pushback-ms"]


async def test_a_bug_is_internal_and_names_the_request(
    server: Running, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never UNKNOWN; the client learns the request's id and nothing of our insides."""

    async def broken(prompt: str) -> tuple[int, ...]:
        raise ZeroDivisionError("secret insides")

    monkeypatch.setattr(engine, "tokenize", broken)

    error, (info,) = await refusal(server, pb(prompt="x", request_id="r-42"))

    assert (grpc.StatusCode.INTERNAL, "INTERNAL") == (error.code(), info.reason)
    assert "r-42" in (error.details() or "")
    assert "secret" not in (error.details() or "")


async def test_a_long_message_still_fits_into_the_headers(server: Running) -> None:
    """A name of a megabyte is refused with a status, not with a transport error."""
    error, _ = await refusal(server, pb(prompt="x", experts=[Ref(name="é" * 500_000)]))

    assert grpc.StatusCode.INVALID_ARGUMENT is error.code()

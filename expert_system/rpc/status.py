"""One table from our errors to gRPC status codes, with the details that clients act on.

    ExpertSystemError -> Reply(code, message, google.rpc details, retry hint) -> trailing metadata

Promise: every error has a code of its own and an ErrorInfo {reason, domain}; a client never sees UNKNOWN, and
a message of any size still fits into HTTP/2 headers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from expert_system import errors, telemetry

DOMAIN = "expert-system"
MAX_MESSAGE_BYTES = 1000
"""The message travels three times, encoded, in headers that clients limit to 8 KiB."""
DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"
MAX_REQUEST_ID_CHARS = 128
REQUEST_ID_KEY = "x-request-id"
"""Trailing metadata that names the request, also when it fails before its plan."""

_CODES: tuple[tuple[type[BaseException], grpc.StatusCode, str], ...] = (
    (errors.InvalidRequest, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    (errors.UnknownExpert, grpc.StatusCode.NOT_FOUND, "UNKNOWN_EXPERT"),
    (errors.IncompatibleSet, grpc.StatusCode.FAILED_PRECONDITION, "INCOMPATIBLE_SET"),
    (errors.WrongBase, grpc.StatusCode.FAILED_PRECONDITION, "WRONG_BASE"),
    (errors.AdapterRefused, grpc.StatusCode.FAILED_PRECONDITION, "ADAPTER_REFUSED"),
    (errors.RouterUnavailable, grpc.StatusCode.FAILED_PRECONDITION, "ROUTER_UNAVAILABLE"),
    (errors.Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"),
    (errors.DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
    (errors.RequestError, grpc.StatusCode.FAILED_PRECONDITION, "REFUSED"),
    (errors.IntegrityError, grpc.StatusCode.DATA_LOSS, "INTEGRITY"),
    (errors.PackageError, grpc.StatusCode.FAILED_PRECONDITION, "PACKAGE"),
    (errors.VerificationError, grpc.StatusCode.FAILED_PRECONDITION, "UNVERIFIED"),
    (errors.EngineUnavailable, grpc.StatusCode.UNAVAILABLE, "ENGINE_UNAVAILABLE"),
    (errors.ExpertSystemError, grpc.StatusCode.INTERNAL, "INTERNAL"),
)
"""First match wins, so a class stands before its parents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A status as it goes over the wire."""

    code: grpc.StatusCode
    message: str
    metadata: tuple[tuple[str, str | bytes], ...]


def reply(error: errors.ExpertSystemError) -> Reply:
    """The status of one error."""
    code, reason = next((code, reason) for kind, code, reason in _CODES if isinstance(error, kind))
    message = str(error).encode()[:MAX_MESSAGE_BYTES].decode(errors="ignore")
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in (error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN), *_details(error, message)):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    metadata: list[tuple[str, str | bytes]] = [(DETAILS_KEY, status.SerializeToString())]
    delay = getattr(error, "retry_after_s", None)
    if delay is not None:
        metadata.append((PUSHBACK_KEY, str(round(delay * 1000))))
    return Reply(code=code, message=message, metadata=tuple(metadata))


def _details(error: errors.ExpertSystemError, message: str) -> list[Message]:
    """What a client can act on beside the reason."""
    found: list[Message] = []
    match error:
        case errors.InvalidRequest():
            problem = message.removeprefix(f"{error.field}: ")
            violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=problem)
            found.append(error_details_pb2.BadRequest(field_violations=[violation]))
        case errors.UnknownExpert():
            name = f"{error.name}@{error.version}" if error.version else error.name
            found.append(error_details_pb2.ResourceInfo(resource_type="expert", resource_name=name))
    delay = getattr(error, "retry_after_s", None)
    if delay is not None:
        wait = duration_pb2.Duration()
        wait.FromMilliseconds(round(delay * 1000))
        found.append(error_details_pb2.RetryInfo(retry_delay=wait))
    return found


@asynccontextmanager
async def errors_as_status(context: grpc.aio.ServicerContext[Any, Any], request_id: str = "") -> AsyncIterator[None]:
    """Turn what the block raises into a status; a bug becomes INTERNAL with the request's id, and is logged."""
    named: tuple[tuple[str, str | bytes], ...] = ()
    if request_id.isascii() and request_id.isprintable() and 0 < len(request_id) <= MAX_REQUEST_ID_CHARS:
        named = ((REQUEST_ID_KEY, request_id),)
    try:
        yield
    except errors.ExpertSystemError as error:
        told = reply(error)
        if told.code is grpc.StatusCode.INTERNAL:
            telemetry.bug(request_id, error)
        await context.abort(told.code, told.message, (*told.metadata, *named))
    except (asyncio.CancelledError, grpc.aio.AbortError):
        raise
    except Exception as error:  # noqa: BLE001 - the border: a bug must not reach the client as UNKNOWN
        telemetry.bug(request_id, error)
        told = reply(errors.ExpertSystemError(f"internal error; the server's log has it under request {request_id}"))
        await context.abort(told.code, told.message, (*told.metadata, *named))

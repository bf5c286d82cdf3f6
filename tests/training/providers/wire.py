"""A local HTTP server that speaks the wire formats of OpenAI's and Anthropic's APIs, and their failures."""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-not-a-real-key-0123456789"
INPUT_TOKENS, OUTPUT_TOKENS = 100, 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with one request."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    """Sent instead of an answer; "{authorization}" becomes the key that came with the request."""
    cut: bool = False
    """The connection ends in the middle of the body."""
    text: str | None = None
    """What the model says instead of rows."""
    finish: str | None = None
    """Why the model stopped."""


@dataclass(slots=True)
class Wire:
    """The server's memory."""

    url: str = ""
    faults: deque[Fault] = field(default_factory=deque)
    """Taken by the next requests, in order."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    """Path, headers and body of every request."""
    hold_after: int | None = None
    """From this many requests on nothing is answered, until the test lets go."""
    let_go: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def seeds(self) -> list[int]:
        """The seed of every request, where one was sent."""
        return [request["body"]["seed"] for request in self.requests]


@contextmanager
def serving() -> Iterator[Wire]:
    """A server on a free port of this machine."""
    wire = Wire()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with wire.lock:
                wire.requests.append({"path": self.path, "headers": dict(self.headers), "body": body})
                number = len(wire.requests)
                fault = wire.faults.popleft() if wire.faults else Fault()
            if wire.hold_after is not None and number > wire.hold_after:
                wire.let_go.wait()
            self._send(body, fault, number)

        def _send(self, body: dict[str, Any], fault: Fault, number: int) -> None:
            key = self.headers.get("authorization") or self.headers.get("x-api-key") or ""
            anthropic = self.path.endswith("/messages")
            answer = (_message if anthropic else _completion)(body, fault, number)
            sent = (
                fault.body.replace("{authorization}", key) if fault.body is not None else json.dumps(answer)
            ).encode()
            self.send_response(fault.status)
            for name, value in {"content-type": "application/json", **fault.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent[: len(sent) // 2] if fault.cut else sent)
            self.close_connection = fault.cut

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    wire.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield wire
    finally:
        wire.let_go.set()
        server.shutdown()
        server.server_close()
        thread.join()


def rows(user: str, tag: str) -> str:
    """As many rows as were asked for; the same request with the same tag gets the same ones."""
    count = int(re.findall(r"\d+", user)[0])
    written = [{"question": f"{user} number {n} of {tag}?", "reply": f"reply {n} of {tag}"} for n in range(count)]
    return json.dumps({"rows": written})


def _completion(body: dict[str, Any], fault: Fault, number: int) -> dict[str, Any]:
    text = (
        fault.text if fault.text is not None else rows(body["messages"][-1]["content"], str(body.get("seed", number)))
    )
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1,
        "model": f"{body['model']}-served",
        "choices": [{"index": 0, "message": message, "finish_reason": fault.finish or "stop", "logprobs": None}],
        "usage": {
            "prompt_tokens": INPUT_TOKENS,
            "completion_tokens": OUTPUT_TOKENS,
            "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        },
    }


def _message(body: dict[str, Any], fault: Fault, number: int) -> dict[str, Any]:
    if fault.text is None:
        given = json.loads(rows(body["messages"][-1]["content"], str(number)))
        content = [{"type": "tool_use", "id": f"toolu_{number}", "name": body["tools"][0]["name"], "input": given}]
    else:
        content = [{"type": "text", "text": fault.text}]
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": f"{body['model']}-served",
        "content": content,
        "stop_reason": fault.finish or "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS},
    }

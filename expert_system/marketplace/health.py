"""How the sync daemon tells systemd and Kubernetes that it lives: sd_notify, and /livez, /readyz, /metrics over HTTP."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


def notify(state: str) -> None:
    """Tell systemd, when it asked to be told (`Type=notify`): READY=1, WATCHDOG=1, STOPPING=1."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.sendall(state.encode())


class HealthPage:
    """A small HTTP server on its own thread; use it as a context manager."""

    def __init__(self, ready: Callable[[], bool], *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Bind at once; port 0 takes a free one."""

        class Handler(BaseHTTPRequestHandler):
            """Answers the three paths."""

            def do_GET(self) -> None:
                """One probe."""
                pages = {"/livez": (200, b"ok\n"), "/readyz": (200, b"ok\n") if ready() else (503, b"not ready\n")}
                status, body = pages.get(self.path, (404, b"not found\n"))
                kind = "text/plain"
                if self.path == "/metrics":
                    status, body, kind = 200, generate_latest(), CONTENT_TYPE_LATEST
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
                """Probes are not worth a line each."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self.port: int = self._server.server_port

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

"""Test doubles below the vendors: a scripted transport and a small real server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from src.data.core.clock import ManualClock
from src.data.core.model.request.capabilities import Limits
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.net.http.retry import RetryPolicy
from src.data.core.net.http.sender import Sender
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import State
from src.data.errors import DataError

NOW_MS = 1_735_689_600_000  # 2025-01-01T00:00:00Z
NO_LIMITS = Limits()

Answer = HttpResponse | DataError | Callable[[HttpRequest], HttpResponse]


def answer(body: Any = b"", status: int = 200, **headers: str) -> HttpResponse:
    """Make an answer; anything but bytes becomes JSON, ``_`` in header names becomes ``-``."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status, named, raw, "https://vendor.example/path")


class ScriptedTransport:
    """Answers requests from a list, in order, and records them."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[HttpRequest] = []

    def send(self, request: HttpRequest) -> HttpResponse:
        self.asked.append(request)
        step = self.answers.pop(0)
        if isinstance(step, DataError):
            raise step
        return step if isinstance(step, HttpResponse) else step(request)


def sender_over(
    transport: Any,
    *,
    clock: ManualClock | None = None,
    limits: Limits = NO_LIMITS,
    retry: RetryPolicy | None = None,
    on_attempt: Any = None,
) -> Sender:
    """Return a sender with a fixed clock."""
    clock = clock or ManualClock(NOW_MS)
    return Sender(transport, Limiter("acme", limits, State(None, clock)), clock, retry, on_attempt)


class Recorder(ThreadingHTTPServer):
    """A server whose answers are decided by one function and that counts connections."""

    daemon_threads = True

    def __init__(self, handle: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.connections = 0
        self.requests: list[tuple[str, dict[str, str]]] = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                headers = {k.lower(): v for k, v in self.headers.items()}
                recorder.requests.append((self.path, headers))
                handle(self)

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving(handle: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[Recorder]:
    """Run a server for the time of the block."""
    server = Recorder(handle)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reply(
    handler: BaseHTTPRequestHandler, body: bytes = b"{}", status: int = 200, **headers: str
) -> None:
    """Write one whole answer."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)

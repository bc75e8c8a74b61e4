"""Sockets: reading a request, and sending an answer well or badly."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import sys
import threading
from dataclasses import dataclass
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .face import Reply, Request

if TYPE_CHECKING:
    from .server import VendorServer

# A stall that nobody releases must not outlive a test run.
_PATIENCE_S = 60.0
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class LogEntry:
    """One request as it arrived.

    Attributes:
        vendor: prefix of the path; ``elsewhere`` for a redirect that was followed.
        path: what follows the prefix.
        time_ms: the server's clock.
        connection: the same number for all requests of one connection.
    """

    vendor: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    time_ms: int
    connection: int
    method: str = "GET"


class Listener(ThreadingHTTPServer):
    """The listening socket and its connection threads; stops within milliseconds."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, vendors: VendorServer) -> None:
        self.vendors = vendors
        self.numbers = itertools.count(1)
        self._workers: dict[threading.Thread, socket.socket] = {}
        self._guard = threading.Lock()
        self._stopping = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self._accept, name="vendor-server", daemon=True)

    @property
    def port(self) -> int:
        """The port the system gave us."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def stop(self) -> None:
        """Stop accepting, close every connection and wait for the threads."""
        self._stopping.set()
        # A knock on the door wakes the accepting thread; polling would cost its interval.
        with socket.create_connection(("127.0.0.1", self.port), timeout=1):
            pass
        self._thread.join(2)
        self.server_close()
        with self._guard:
            workers = list(self._workers.items())
        for _, connection in workers:
            with contextlib.suppress(OSError):  # it has ended by itself
                connection.shutdown(socket.SHUT_RDWR)
        for worker, _ in workers:
            worker.join(2)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, known by name so that stop can end it."""
        worker = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), daemon=True
        )
        with self._guard:
            self._workers = {t: c for t, c in self._workers.items() if t.is_alive()}
            self._workers[worker] = request
            worker.start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about clients that hang up; report everything else in ``errors``."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            self.vendors.errors.append(error)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            self.handle_request()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Listener

    def setup(self) -> None:
        self.number = next(self.server.numbers)
        super().setup()

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing; the server keeps its own log."""

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        url = urlsplit(self.path)
        vendor, _, path = url.path.lstrip("/").partition("/")
        params = dict(parse_qsl(url.query, keep_blank_values=True))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, "/" + unquote(path), params, headers, body)
        release = self.server.vendors.release
        reply = self.server.vendors.reply(vendor, request, self.number)
        self._deliver(reply, release)

    def _deliver(self, reply: Reply, release: threading.Event) -> None:
        way = reply.delivery.way
        if way == "reset":
            self._reset()
        elif way == "hang":
            self.close_connection = True
            release.wait(_PATIENCE_S)
        elif way == "hold":
            release.wait(_PATIENCE_S)
            self._send(self._head(reply) + reply.body)
        elif way in ("stall", "truncate"):
            self.close_connection = True
            self._send(
                self._head(reply) + reply.body[: int(len(reply.body) * reply.delivery.share)]
            )
            if way == "stall":
                release.wait(_PATIENCE_S)
        elif way in ("trickle", "drip"):
            self._trickle(reply, release, head=b"" if way == "trickle" else self._head(reply))
        else:
            self.close_connection = self.close_connection or way == "vanish"
            self._send(self._head(reply) + (b"" if self.command == "HEAD" else reply.body))

    def _trickle(self, reply: Reply, release: threading.Event, head: bytes) -> None:
        if not head:
            self._send(self._head(reply))
        size, told = reply.delivery.chunk, head + reply.body
        for start in range(0, len(told), size):
            if release.wait(reply.delivery.pause_s):
                self.close_connection = True
                return
            self._send(told[start : start + size])

    def _head(self, reply: Reply) -> bytes:
        """Return status line and headers; one write with the body, or Nagle makes it wait."""
        headers = dict(reply.headers)
        date = self.server.vendors.date_header()
        if date:
            headers["Date"] = date
        headers["Content-Length"] = str(len(reply.body))
        phrase = responses.get(reply.status, "I'm a teapot")
        lines = [f"HTTP/1.1 {reply.status} {phrase}", *(f"{k}: {v}" for k, v in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _send(self, data: bytes) -> None:
        try:
            self.wfile.write(data)
        except OSError:
            self.close_connection = True  # the client has gone; that is its right

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.rfile.close()  # it holds the descriptor open, and only a real close resets
        self.connection.close()

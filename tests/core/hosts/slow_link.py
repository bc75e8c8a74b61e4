"""A slow connection to a server: everything arrives 10 ms later, in both directions.

It runs in a process of its own, because tests may not connect to a socket file.
"""

from __future__ import annotations

import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from subprocess import PIPE
from urllib.parse import urlsplit

from tests.core.hosts.pooler import socket_of

ONE_WAY_S = 0.010


class _Link:
    """Both directions of one connection; counts what is sent before anything is returned as one trip."""

    trips = 0
    _lock = threading.Lock()

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self._is_waiting = False
        for source, target, is_request in ((client, server, True), (server, client, False)):
            waiting: queue.Queue[tuple[float, bytes]] = queue.Queue()
            for work in (self._read, self._write):
                arguments = (source, target, waiting, is_request)
                threading.Thread(target=work, args=arguments, daemon=True).start()

    def _read(self, source: socket.socket, _: socket.socket, waiting: queue.Queue[tuple[float, bytes]],
              is_request: bool) -> None:  # fmt: skip
        data = b"?"
        while data:
            data = b""
            with suppress(OSError):
                data = source.recv(1 << 16)
            with self._lock:
                if is_request and data and not self._is_waiting:
                    _Link.trips += 1
                self._is_waiting = is_request
            waiting.put((time.monotonic() + ONE_WAY_S, data))

    def _write(self, _: socket.socket, target: socket.socket, waiting: queue.Queue[tuple[float, bytes]],
               __: bool) -> None:  # fmt: skip
        while True:
            due_s, data = waiting.get()
            time.sleep(max(0.0, due_s - time.monotonic()))  # the delay that this is about
            with suppress(OSError):
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(data)


def main(path: str) -> None:
    """Serve clients; print the port first, and the number of trips for each line that is read."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                client, _ = listening.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(path)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _Link(client, server)

        threading.Thread(target=accept, daemon=True).start()
        print(listening.getsockname()[1], flush=True)
        for _ in sys.stdin:
            print(_Link.trips, flush=True)


class SlowLink:
    """A slow connection to a server: its URL, and the trips over it so far."""

    def __init__(self, url: str, process: subprocess.Popen[str]) -> None:
        self.url, self._process = url, process

    def trips(self) -> int:
        """Return how often something was sent and something else returned."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def slow_link(url: str) -> Iterator[SlowLink]:
    """Yield a slow connection to the server with this URL, which listens on a socket file."""
    command = [sys.executable, "-m", "tests.core.hosts.slow_link", socket_of(url)]
    parts = urlsplit(url)
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        port = int(process.stdout.readline())
        yield SlowLink(f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}", process)
        process.stdin.close()


if __name__ == "__main__":
    main(sys.argv[1])

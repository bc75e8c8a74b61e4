"""A pooler in transaction mode: each transaction of a client uses another connection to the server.

It runs in a process of its own, because tests may not connect to a socket file.
"""

from __future__ import annotations

import itertools
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import PIPE
from urllib.parse import parse_qs, urlsplit

CONNECTIONS = 3
_ENCRYPTION = (80877103, 80877104)  # requests for TLS and GSS
# The process that a client is told: none of the server's, as with pgbouncer.
_NOBODY = struct.pack("!i", 1)


class _Stream:
    """Messages over a socket."""

    def __init__(self, one: socket.socket) -> None:
        self.socket = one

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise ConnectionError
            data += part
        return data

    def startup(self) -> bytes:
        head = self.read(4)
        return head + self.read(struct.unpack("!i", head)[0] - 4)

    def message(self) -> tuple[bytes, bytes]:
        kind, head = self.read(1), self.read(4)
        return kind, kind + head + self.read(struct.unpack("!i", head)[0] - 4)

    def until_ready(self) -> tuple[list[bytes], bool]:
        """Return the messages until the server is ready, and whether it is idle."""
        found: list[bytes] = []
        while True:
            kind, data = self.message()
            found.append(data)
            if kind == b"Z":
                return found, data.endswith(b"I")


def _serve(client: socket.socket, path: str) -> None:
    servers: list[_Stream] = []
    with suppress(ConnectionError), client:
        own = _Stream(client)
        while struct.unpack("!i", (start := own.startup())[4:8])[0] in _ENCRYPTION:
            client.sendall(b"N")
        for _ in range(CONNECTIONS):
            server = socket.socket(socket.AF_UNIX)
            server.connect(path)
            server.sendall(start)
            servers.append(_Stream(server))
            greeting, _ = servers[-1].until_ready()
        known = (m[:5] + _NOBODY + m[9:] if m[:1] == b"K" else m for m in greeting)
        client.sendall(b"".join(known))
        for number in itertools.cycle(range(CONNECTIONS)):
            is_idle = False
            while not is_idle:
                kind = b""
                while kind not in (b"Q", b"S"):
                    kind, data = own.message()
                    servers[number].socket.sendall(data)
                    if kind == b"X":
                        return
                answer, is_idle = servers[number].until_ready()
                client.sendall(b"".join(answer))


def main(path: str) -> None:
    """Serve clients until the standard input ends; print the port first."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                client, _ = listening.accept()
                threading.Thread(target=_serve, args=(client, path), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        print(listening.getsockname()[1], flush=True)
        sys.stdin.read()


def socket_of(url: str) -> str:
    """Return the path of the socket file that a URL names."""
    query = parse_qs(urlsplit(url).query)
    return str(Path(query["host"][0]) / f".s.PGSQL.{query.get('port', ['5432'])[0]}")


@contextmanager
def pooler(url: str) -> Iterator[str]:
    """Yield the URL of a pooler in front of the server with this URL, which listens on a socket file."""
    parts = urlsplit(url)
    command = [sys.executable, "-m", "tests.core.hosts.pooler", socket_of(url)]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        port = int(process.stdout.readline())
        yield f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}"
        process.stdin.close()


if __name__ == "__main__":
    main(sys.argv[1])

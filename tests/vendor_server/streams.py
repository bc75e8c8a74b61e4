"""Vendors' sockets on 127.0.0.1 over the same truth, down to single bytes, so that all can go wrong."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType

from onetape.data.core.clock import ManualClock
from onetape.data.core.model.market.stream import Topic
from onetape.data.core.model.time.timeframe import Timeframe

from .ground_truth import Row, Truth
from .stream_faces import STREAM_FACES, StreamFace

MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


def framed(payload: bytes, opcode: int = TEXT, fin: bool = True) -> bytes:
    """Return one frame as a server sends it."""
    size = len(payload)
    head = bytes([(0x80 if fin else 0) | opcode])
    if size < 126:
        return head + bytes([size]) + payload
    if size < 65536:
        return head + bytes([126]) + struct.pack("!H", size) + payload
    return head + bytes([127]) + struct.pack("!Q", size) + payload


class Peer:
    """One connection that was accepted. Thread-safe.

    Attributes:
        heard: the texts that came.
        pings: how many of them were answered.
        pongs: how many pings of ours were answered: what was sent before each has been read.
        is_mute, is_deaf, is_curt: it sends nothing; it takes no notice of anything; it answers pings
            and nothing else.
    """

    def __init__(self, raw: socket.socket, face: StreamFace) -> None:
        self.face = face
        self.topics: set[Topic] = set()
        self.heard: list[str] = []
        self.pings = self.pongs = 0
        self.is_mute = False
        self.is_deaf = self.is_curt = False
        self.is_open = True
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._raw = raw
        self._lock = threading.Lock()

    def send(self, data: bytes) -> None:
        """Send raw bytes; a mute one sends nothing, and nobody minds one that is gone."""
        if self.is_mute:
            return
        with self._lock:
            try:
                self._raw.sendall(data)
            except OSError:
                self.is_open = False

    def say(self, text: str) -> None:
        """Send a text."""
        self.send(framed(text.encode()))

    def ping(self) -> None:
        """Ask for a pong."""
        self.send(framed(b"", PING))

    def reset(self) -> None:
        """Cut it with a reset."""
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.cut()

    def cut(self) -> None:
        """Cut it."""
        self.is_open = False
        try:
            self._raw.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._raw.close()

    def leave(self, code: int = 1001) -> None:
        """Say goodbye with a close frame, then cut."""
        self.send(framed(struct.pack("!H", code), CLOSE))
        self.cut()

    def cut_inside(self, text: str) -> None:
        """Send half a frame, then cut."""
        self.send(framed(text.encode())[: len(text) // 2])
        self.cut()

    def serve(self) -> None:
        """Answer what comes until it is gone."""
        for text in self.face.greeting():
            self.say(text)
        for opcode, payload in self._frames():
            if self.is_deaf:
                continue
            if opcode == PING:
                self.send(framed(payload, PONG))
                self.pings += 1
            elif opcode == PONG:
                self.pongs += 1
            elif opcode == CLOSE:
                return
            elif opcode == TEXT and not self.is_curt:
                self.heard.append(payload.decode())
                for answer in self.face.answer(payload.decode(), self.topics):
                    self.say(answer)

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        while True:
            try:
                head = self._exactly(2)
                size = head[1] & 0x7F
                if size == 126:
                    size = struct.unpack("!H", self._exactly(2))[0]
                elif size == 127:
                    size = struct.unpack("!Q", self._exactly(8))[0]
                mask = self._exactly(4)
                body = self._exactly(size)
            except OSError:
                return
            yield head[0] & 0x0F, bytes(b ^ mask[i % 4] for i, b in enumerate(body))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            if not (part := self._raw.recv(size - len(data))):
                raise OSError("gone")
            data += part
        return data


Handshake = Callable[[socket.socket], bool]


class StreamServer:
    """Sockets of all vendors on one port; a context manager.

    Attributes:
        peers: every connection accepted so far, oldest first.
        handshakes: what happens instead of the next handshakes, in order; each gets the socket and
            says whether the usual handshake follows all the same.
        on_peer: called with every new connection before anything is said on it.
    """

    def __init__(self, clock: ManualClock, truth: Truth | None = None) -> None:
        self.clock = clock
        self.truth = truth or Truth()
        self.peers: list[Peer] = []
        self.attempts = 0
        self.handshakes: deque[Handshake] = deque()
        self.on_peer: Callable[[Peer], None] = lambda peer: None
        self._door = socket.create_server(("127.0.0.1", 0))
        self._is_over = False
        self._held: list[socket.socket] = []

    def __enter__(self) -> StreamServer:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._is_over = True
        self._door.close()
        for peer in self.peers:
            peer.cut()
        for raw in self._held:
            raw.close()

    def url(self, vendor: str) -> str:
        """Return what to configure as ``ws_url`` of a vendor."""
        return f"ws://127.0.0.1:{self._door.getsockname()[1]}/{vendor}"

    def listening(self, topic: Topic) -> list[Peer]:
        """Return the open connections that subscribed to ``topic``."""
        return [p for p in list(self.peers) if p.is_open and topic in p.topics]

    def row(self, symbol: str, timeframe: str, stamp_ms: int) -> Row | None:
        """Return the truth's bar, also a running one."""
        rows = self.truth.rows(symbol, timeframe, stamp_ms, stamp_ms + 1)
        return rows[0] if rows else None

    def text(self, vendor: str, symbol: str, timeframe: str, stamp_ms: int, *,
             is_closed: bool = True) -> str:  # fmt: skip
        """Return the message about one bar in the vendor's words."""
        row = self.row(symbol, timeframe, stamp_ms)
        assert row is not None, f"the truth has no bar {symbol} {timeframe} {stamp_ms}"
        return STREAM_FACES[vendor]().bar(symbol, timeframe, row, is_closed=is_closed)

    def publish(self, vendor: str, symbol: str, timeframe: str, stamp_ms: int, *,
                is_closed: bool = True) -> int:  # fmt: skip
        """Tell all who subscribed to it about one bar; return how many they are."""
        text = self.text(vendor, symbol, timeframe, stamp_ms, is_closed=is_closed)
        to = self.listening(Topic(symbol, timeframe))
        for peer in to:
            peer.say(text)
        return len(to)

    def _accept(self) -> None:
        while not self._is_over:
            try:
                raw, _ = self._door.accept()
            except OSError:
                return
            threading.Thread(target=self.greet, args=(raw,), daemon=True).start()

    def greet(self, raw: socket.socket) -> None:
        self.attempts += 1
        self._held.append(raw)
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                if not (part := raw.recv(4096)):
                    return
                head += part
            if self.handshakes and not self.handshakes.popleft()(raw):
                return
            path = head.split(b" ")[1].decode()
            key = next(line.split(b":", 1)[1].strip() for line in head.split(b"\r\n")
                       if line.lower().startswith(b"sec-websocket-key"))  # fmt: skip
            accept = base64.b64encode(hashlib.sha1(key + MAGIC.encode()).digest())
            raw.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                        b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")  # fmt: skip
            peer = Peer(raw, STREAM_FACES[path.split("/")[1].partition("?")[0]]())
        except OSError:  # it was closed while it was greeted
            return
        self.on_peer(peer)
        self.peers.append(peer)
        peer.serve()
        peer.is_open = False


def refusing(status: str, headers: str = "") -> Handshake:
    """Return a handshake that is refused with a status line such as ``429 Too Many Requests``."""

    def refuse(raw: socket.socket) -> bool:
        raw.sendall(f"HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\n\r\n".encode())
        raw.close()
        return False

    return refuse


def hanging(raw: socket.socket) -> bool:
    """Answer half a handshake and nothing more."""
    raw.sendall(b"HTTP/1.1 101 Switch")
    return False


def step_of(timeframe: str) -> int:
    """Return the length of a bar in milliseconds."""
    return Timeframe.parse(timeframe).step_ms or 0

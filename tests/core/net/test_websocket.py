"""The websocket client: refused frames, typed errors, and aborts at any time."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import ssl
import sys
import threading
import time
import traceback
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
import websocket

from src.data.core.clock import ManualClock
from src.data.core.model.market.stream import StreamAddress
from src.data.core.net.http.websocket import Dialer, Wire
from src.data.errors import (
    AuthenticationError,
    ConfigError,
    DataError,
    EntitlementError,
    MissingExtraError,
    ProviderTimeoutError,
    RateLimitedError,
    ResponseFormatError,
    UnavailableError,
)
from tests.vendor_server.streams import CLOSE, PING, Peer, StreamServer, framed, hanging, refusing

KEY = "canary0123456789"
# Less than what would have to be waited for otherwise, and enough for a busy machine.
SOON_S = 10.0


@pytest.fixture
def server() -> Iterator[StreamServer]:
    """Yield a server of sockets."""
    with StreamServer(ManualClock(0)) as made:
        yield made


def dialer(server: StreamServer, timeout: float = 5.0) -> Dialer:
    """Return a dialer to an address with a key in it."""
    url = server.url("binance")
    return Dialer(lambda: StreamAddress(f"{url}?token={KEY}", url), timeout)


@pytest.fixture
def joined(server: StreamServer) -> Iterator[tuple[Wire, Peer]]:
    """Yield both ends of a new connection."""
    wire = dialer(server)()
    while not server.peers:
        threading.Event().wait(0.005)
    yield wire, server.peers[-1]
    wire.abort()


def test_texts_are_sent_and_received_in_fragments(joined: tuple[Wire, Peer]) -> None:
    wire, peer = joined
    wire.send('{"method": "SUBSCRIBE", "params": ["x@kline_1m"], "id": 7}')
    assert wire.receive(5.0) == '{"result": null, "id": 7}'
    peer.send(framed(b"ab", fin=False) + framed(b"cd", 0))
    assert wire.receive(5.0) == "abcd"
    assert wire.receive(0.01) is None
    peer.send(framed(b"half")[:3])
    assert wire.receive(0.01) is None
    peer.send(framed(b"half")[3:])
    assert wire.receive(5.0) == "half"


def test_pings_of_both_sides_are_answered_as_heartbeats(joined: tuple[Wire, Peer]) -> None:
    wire, peer = joined
    peer.send(framed(b"x", PING))
    assert wire.receive(5.0) == ""
    wire.ping()
    assert wire.receive(5.0) == ""


@pytest.mark.parametrize("code", [1001, 4002])
def test_a_close_frame_is_reported_with_its_code(joined: tuple[Wire, Peer], code: int) -> None:
    wire, peer = joined
    peer.send(framed(code.to_bytes(2, "big") + b"secret words", CLOSE))
    with pytest.raises(UnavailableError, match=f"closed the connection with code {code}$"):
        wire.receive(5.0)


@pytest.mark.parametrize("how", ["reset", "cut"])
def test_a_lost_websocket_connection_raises_unavailable(
    joined: tuple[Wire, Peer], how: str
) -> None:
    wire, peer = joined
    getattr(peer, how)()
    with pytest.raises(UnavailableError, match="was lost"):
        wire.receive(5.0)


@pytest.mark.parametrize("data", [
    bytes([0x81, 127]) + (1 << 40).to_bytes(8, "big"),
    framed(b"x" * 60_000, fin=False) + framed(b"x" * 60_000, 0, fin=False) * 80,
    bytes([0xF1, 2]) + b"{}", framed(b"\xff\xff"),
], ids=["huge", "endless", "reserved", "no-utf8"])  # fmt: skip
def test_a_violation_of_the_websocket_protocol_is_reported_in_bounded_memory(
    joined: tuple[Wire, Peer], data: bytes
) -> None:
    wire, peer = joined
    threading.Thread(target=peer.send, args=(data,), daemon=True).start()
    tracemalloc.start()
    try:
        with pytest.raises(ResponseFormatError, match="violates the protocol"):
            wire.receive(5.0)
        assert tracemalloc.get_traced_memory()[1] < 20 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_a_slowly_sending_server_does_not_prolong_a_receive(joined: tuple[Wire, Peer]) -> None:
    wire, peer = joined
    over = threading.Event()

    def drip() -> None:
        for byte in framed(b"x" * 4000):
            peer.send(bytes([byte]))
            if over.wait(0.02):
                return

    threading.Thread(target=drip, daemon=True).start()
    began = time.monotonic()
    assert wire.receive(0.1) is None
    assert time.monotonic() - began < SOON_S
    over.set()


def test_abort_wakes_a_reader_at_once(joined: tuple[Wire, Peer]) -> None:
    wire, _ = joined
    outcome: list[Any] = []

    def read() -> None:
        try:
            wire.receive(30.0)
        except DataError as error:
            outcome.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    began = time.monotonic()
    wire.abort()
    wire.abort()
    reader.join(SOON_S)
    assert time.monotonic() - began < SOON_S
    assert isinstance(outcome[0], UnavailableError)
    with pytest.raises(UnavailableError):
        wire.send("x")


@pytest.mark.parametrize("status, error", [
    ("429 Too Many Requests", RateLimitedError), ("401 Unauthorized", AuthenticationError),
    ("403 Forbidden", EntitlementError), ("500 Oops", UnavailableError),
    ("302 Found", UnavailableError), ("nonsense", UnavailableError),
], ids=["429", "401", "403", "500", "302", "nonsense"])  # fmt: skip
def test_a_refused_websocket_handshake_raises_a_typed_error(
    server: StreamServer, status: str, error: type[DataError]
) -> None:
    extra = f"Retry-After: 7\r\nLocation: {server.url('binance')}\r\n"
    server.handshakes.append(refusing(status, extra))
    with pytest.raises(error) as caught:
        dialer(server)()
    asked_s = 7 if status[:3] in ("429", "500") else None
    assert getattr(caught.value, "retry_after", None) == asked_s
    assert server.attempts == 1


def test_a_silent_handshake_times_out_and_can_be_aborted(server: StreamServer) -> None:
    server.handshakes.append(hanging)
    with pytest.raises(ProviderTimeoutError):
        dialer(server, timeout=0.1)()
    server.handshakes.append(hanging)
    dial = dialer(server, timeout=30.0)
    failed: list[DataError] = []

    def run() -> None:
        try:
            dial()
        except DataError as error:
            failed.append(error)

    opening = threading.Thread(target=run)
    opening.start()
    while server.attempts < 2:
        threading.Event().wait(0.005)
    began = time.monotonic()
    while opening.is_alive() and time.monotonic() - began < SOON_S:
        dial.abort()
        opening.join(0.05)
    assert failed


def test_a_slow_tls_handshake_times_out() -> None:
    """It comes before anything of ours that could be cut."""
    over = threading.Event()

    def drip(door: socket.socket) -> None:
        raw, _ = door.accept()
        raw.recv(1024)
        with contextlib.suppress(OSError):
            for byte in b"\x16\x03\x03\x40\x00" + b"\x02" * 10_000:
                raw.sendall(bytes([byte]))
                if over.wait(0.05):
                    break
        raw.close()

    with socket.create_server(("127.0.0.1", 0)) as door:
        url = f"wss://127.0.0.1:{door.getsockname()[1]}/x"
        server = threading.Thread(target=drip, args=(door,), daemon=True)
        server.start()
        began = time.monotonic()
        with pytest.raises(ProviderTimeoutError):
            Dialer(lambda: StreamAddress(url, url), timeout=0.3)()
        assert time.monotonic() - began < SOON_S
        over.set()
        server.join(5.0)


def test_no_websocket_error_contains_the_key(
    server: StreamServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.handshakes.extend([refusing("401 Unauthorized"), refusing("nonsense")])
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            dialer(server)()
        error = caught.value
        reported = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
        assert KEY not in reported
        assert error.__context__ is None
        assert error.__cause__ is None
    assert KEY not in caplog.text
    assert KEY not in repr(StreamAddress(f"wss://x.test?token={KEY}", "wss://x.test"))


SAID = f"wss://x.test/?token={KEY}"


@pytest.mark.parametrize("error, words", [
    (socket.gaierror(socket.EAI_AGAIN, SAID), "its address was not found"),
    (websocket.WebSocketAddressException(SAID), "its address was not found"),
    (websocket.WebSocketProxyException(SAID), "the proxy refused it"),
    (websocket.WebSocketConnectionClosedException(SAID), "it was closed without a reason"),
    (websocket.WebSocketException(SAID), "its response is not a websocket handshake"),
    (ConnectionRefusedError(errno.ECONNREFUSED, SAID), "connection refused"),
    (OSError(errno.ENETUNREACH, SAID, SAID), "network is unreachable"),
    (OSError(SAID), "the network failed"),
    (TimeoutError(errno.ETIMEDOUT, SAID), "no answer in time"),
    (ssl.SSLError(1, SAID), "TLS failed"),
    (ValueError(SAID), "its address cannot be read"),
], ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value)  # fmt: skip
def test_a_failed_websocket_connection_is_reported_without_the_key(
    server: StreamServer, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("websocket.WebSocket.connect", fail)
    with pytest.raises(DataError) as caught:
        dialer(server)()
    assert str(caught.value).endswith(f"could not be reached: {words}")
    reported = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert KEY not in reported and "x.test" not in reported


def test_the_error_for_a_refused_websocket_connection_is_readable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        url = f"ws://127.0.0.1:{door.getsockname()[1]}/x"
    with pytest.raises(UnavailableError, match=r"could not be reached: connection refused$"):
        Dialer(lambda: StreamAddress(f"{url}?token={KEY}", url))()


@pytest.mark.parametrize("url", ["ws://example.test/x", "http://127.0.0.1/x", "x"])
def test_a_websocket_to_another_machine_must_use_tls(url: str) -> None:
    with pytest.raises(ConfigError, match="does not use TLS"):
        Dialer(lambda: StreamAddress(url, url))()


def test_the_extra_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websocket", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[live\]"):
        Dialer(lambda: StreamAddress("wss://example.test", "x"))()

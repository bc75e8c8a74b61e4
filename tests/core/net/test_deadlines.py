"""A request ends by its own deadline, whatever the server does, on every transport."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from src.data.core.clock import ManualClock, SystemClock
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.net.calls import deadline
from src.data.core.net.calls.deadline import left_s, within
from src.data.core.net.http.http import TOTAL_S, HttpTransport, Transport
from src.data.core.vendors.alpaca.carrier import AlpacaCarrier
from src.data.core.vendors.binance.carrier import BinanceCarrier
from src.data.core.vendors.ccxt.carrier import CcxtCarrier
from src.data.core.vendors.ibkr.carrier import IbkrCarrier
from src.data.core.vendors.yahoo.carrier import YFinanceCarrier
from src.data.errors import DataError, ProviderTimeoutError, ResponseFormatError, UnavailableError
from tests.core.cache.counts import crossed
from tests.core.net.misbehaving import BEHAVIOURS, certificate, endless
from tests.core.net.scripted import reply, serving
from tests.core.vendors.fresh_yfinance import forget_yfinance
from tests.interrupts import interrupted

# Each of these servers goes on for ever, and no read alone takes so long: only the deadline of the
# whole can end a request. Without one the test does not end, until it is ended itself.
DEADLINE_S = 0.15
READ_S = 3600.0


def plain() -> HttpTransport:
    return HttpTransport(timeout=(READ_S, READ_S), total_s=DEADLINE_S)


def slow(total_s: float = TOTAL_S) -> HttpTransport:
    return HttpTransport(timeout=(READ_S, READ_S), total_s=total_s)


TRANSPORTS: dict[str, tuple[str, str, Callable[[], Transport]]] = {
    "plain": ("", "/x", plain),
    "curl": ("curl_cffi", "/x", lambda: YFinanceCarrier(through_sdk=False, timeout_s=DEADLINE_S)),
    "yfinance": ("yfinance", "/x", lambda: YFinanceCarrier(timeout_s=DEADLINE_S)),
    "binance": ("binance", "/api/v3/klines", lambda: BinanceCarrier(plain())),
    "alpaca": ("alpaca", "/v2/stocks/bars", lambda: AlpacaCarrier(plain())),
    "ccxt": ("ccxt", "/binance/bars", lambda: CcxtCarrier("binance", slow(), total_s=DEADLINE_S)),
}
PARAMS: dict[str, str | int] = {"symbol": "BTC/USDT", "timeframe": "1d", "since": 0, "limit": 9}
KEYS = {"APCA-API-KEY-ID": "canary0123456789", "APCA-API-SECRET-KEY": "canary0123456789"}


@pytest.fixture(autouse=True)
def _no_cookies_of_this_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_yfinance(monkeypatch, tmp_path)


def ends_in_time(send: Callable[[], HttpResponse]) -> DataError:
    """Return the error of a request that only its deadline ends."""
    with pytest.raises(DataError) as caught:
        send()
    return caught.value


@pytest.mark.parametrize(("transport", "behaviour"), crossed(TRANSPORTS, BEHAVIOURS))
def test_a_request_to_every_misbehaving_server_ends_at_the_deadline(
    transport: str, behaviour: str
) -> None:
    package, path, make = TRANSPORTS[transport]
    if package:
        pytest.importorskip(package)
    carrier = make()
    with endless(behaviour) as port:
        request = HttpRequest(f"http://127.0.0.1:{port}{path}", PARAMS, secret_headers=KEYS)
        error = ends_in_time(lambda: carrier.send(request))
    # A library may see that such an answer is none before the time is over.
    assert isinstance(error, ProviderTimeoutError | ResponseFormatError | UnavailableError)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """Return the path of a new certificate, and a server context that uses it."""
    public, private = certificate(tmp_path_factory.mktemp("tls"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return public, context


@pytest.mark.parametrize("behaviour", ["silence", "status line", "headers", "body", "trailers"])
def test_an_endless_response_over_tls_ends_in_time(
    behaviour: str, tls: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls[0]))
    with endless(behaviour, tls[1]) as port:
        request = HttpRequest(f"https://127.0.0.1:{port}/x")
        error = ends_in_time(lambda: plain().send(request))
    assert isinstance(error, ProviderTimeoutError)


@pytest.fixture
def dripping_handshake() -> Iterator[int]:
    """Accept, and send the head of a TLS record of 16 KiB, then a byte of it now and then."""
    over = threading.Event()

    def serve(door: socket.socket) -> None:
        connection, _ = door.accept()
        with connection, suppress(OSError):  # the client leaves
            connection.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")
            while not over.wait(0.02):
                connection.sendall(b"\x00")

    with socket.create_server(("127.0.0.1", 0)) as door:
        thread = threading.Thread(target=serve, args=(door,), daemon=True)
        thread.start()
        yield door.getsockname()[1]
        over.set()
        if thread.is_alive():  # no client came: the test was skipped
            socket.create_connection(door.getsockname()).close()
        thread.join(20)


@pytest.mark.parametrize("transport", ["plain", "curl"])
def test_a_slow_tls_handshake_ends_at_the_deadline(transport: str, dripping_handshake: int) -> None:
    package, path, make = TRANSPORTS[transport]
    if package:
        pytest.importorskip(package)
    request = HttpRequest(f"https://127.0.0.1:{dripping_handshake}{path}")
    ends_in_time(lambda: make().send(request))


@pytest.mark.parametrize("behaviour", ["silence", "status line", "headers"])
def test_a_slow_proxy_ends_at_the_deadline(behaviour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with endless(behaviour) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        ends_in_time(lambda: plain().send(HttpRequest("https://vendor.example/x")))


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """Return the clock of the deadlines, which only a server advances."""
    clock = ManualClock(0)
    monkeypatch.setattr(SystemClock, "monotonic", lambda _: clock.monotonic())
    return clock


def test_the_deadline_covers_all_redirects_together(steady: ManualClock) -> None:
    """Each redirect on its own is fast enough."""

    def handle(h: BaseHTTPRequestHandler) -> None:
        steady.advance(READ_S / 2)
        reply(h, b"", 302, Location="/again")

    with serving(handle) as server:
        error = ends_in_time(lambda: slow(READ_S).send(HttpRequest(server.base)))
    assert isinstance(error, ProviderTimeoutError)
    assert len(server.requests) == 2


def test_a_carrier_has_one_deadline_for_all_that_it_sends() -> None:
    with endless("silence") as port:
        request = HttpRequest(f"http://127.0.0.1:{port}/x")

        def ask_again_and_again() -> None:
            for _ in range(3):
                ends_in_time(lambda: slow().send(request))

        within(DEADLINE_S, ask_again_and_again)


def test_an_interrupted_request_leaves_no_deadline(steady: ManualClock) -> None:
    files = {deadline.__file__}
    place = 0
    while interrupted(place := place + 1, lambda: within(1.0, left_s), files):
        assert within(5.0, left_s) == 5.0
    assert place > 3


def test_each_request_on_a_kept_connection_has_its_full_time(steady: ManualClock) -> None:
    """One answer takes most of the time; two of them take more than one request has."""

    def handle(h: BaseHTTPRequestHandler) -> None:
        steady.advance(READ_S * 0.9)
        reply(h)

    transport = slow(READ_S)
    with serving(handle) as server:
        statuses = [transport.send(HttpRequest(server.base)).status for _ in range(2)]
        assert (statuses, server.connections) == ([200, 200], 1)
        transport.close()


class Unheard:
    """An event that never comes."""

    def __iadd__(self, listener: object) -> Unheard:
        return self

    def __isub__(self, listener: object) -> Unheard:
        return self


class Connected:
    """A connected client of a gateway, which reports no error."""

    RaiseRequestErrors = True
    errorEvent: Any = Unheard()

    def isConnected(self) -> bool:
        return True

    def disconnect(self) -> None: ...


def test_a_request_to_a_busy_gateway_ends_at_the_deadline() -> None:
    """Questions go one after the other; the one before these does not end."""
    pytest.importorskip("ib_async")
    begun, over = list[str](), threading.Event()

    class Busy(Connected):
        """A gateway whose answers come once it is free."""

        async def reqHistoricalDataAsync(self, contract: Any, *_: Any, **__: Any) -> list[Any]:
            begun.append(contract.symbol)
            over.wait(20.0)
            return []

    carrier = IbkrCarrier(1, timeout_s=0.01, connect_s=0.01, client=Busy())
    asked: dict[str, str | int] = {
        "sec_type": "STK", "symbol": "A", "exchange": "SMART", "primary": "", "currency": "USD",
        "hours": "regular", "what": "TRADES", "end": "", "bar_size": "1 day", "duration": "1 D",
    }  # fmt: skip

    def ask(symbol: str) -> str:
        with pytest.raises(ProviderTimeoutError) as caught:
            carrier.send(HttpRequest("tws://127.0.0.1:9/", {**asked, "symbol": symbol}))
        return str(caught.value)

    with ThreadPoolExecutor(6) as callers:
        reported = [ask("A"), *callers.map(ask, "BCDEFG")]
    assert not over.is_set(), "they waited until it was free"
    over.set()
    while "Z" not in begun:  # all that was to come before it has come
        with suppress(ProviderTimeoutError):
            carrier.send(HttpRequest("tws://127.0.0.1:9/", {**asked, "symbol": "Z"}))
    assert all("was busy with other requests" in one for one in reported)
    assert begun == ["A", "Z"], "no caller waits for the other answers any more"

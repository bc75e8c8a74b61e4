"""Vendors' own packages as carriers, against a server on this machine."""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from src.data.errors import (
    MissingExtraError,
    ProviderTimeoutError,
    ResponseFormatError,
    SymbolNotFoundError,
    UnavailableError,
    install_line,
)
from src.data.model.http import HttpRequest
from src.data.net import sender_pool
from src.data.net.http import HttpTransport
from src.data.net.sender_pool import choose_transport
from src.data.vendors.binance.bars import BinanceDataDownloader
from src.data.vendors.binance.carrier import BinanceCarrier
from src.data.vendors.yahoo.bars import YahooDataDownloader
from src.data.vendors.yahoo.carrier import YFinanceCarrier
from tests.net.scripted import Recorder, reply, sender_over, serving

HAS_BINANCE = importlib.util.find_spec("binance") is not None
HAS_YFINANCE = importlib.util.find_spec("yfinance") is not None
needs_binance = pytest.mark.skipif(not HAS_BINANCE, reason="python-binance is not installed")
needs_yfinance = pytest.mark.skipif(not HAS_YFINANCE, reason="yfinance is not installed")
BAR = [1704067200000, "1", "2", "0.5", "1.5", "10", 1704153599999, "15", 3, "4", "6", "0"]
CHART = {
    "chart": {
        "result": [
            {
                "meta": {"currency": "USD", "exchangeTimezoneName": "America/New_York"},
                "timestamp": [1704205800],
                "indicators": {
                    "quote": [{"open": [1], "high": [2], "low": [1], "close": [2], "volume": [3]}]
                },
            }
        ]
    }
}


def vendors(handler: BaseHTTPRequestHandler) -> None:
    if "NOPE" in handler.path:
        known = {"code": -1121} if "klines" in handler.path else {"chart": {"result": None}}
        reply(handler, json.dumps(known).encode(), 400 if "klines" in handler.path else 404)
    elif "BUSY" in handler.path:
        reply(handler, b"<html>busy</html>", 429, Retry_After="7")
    elif "klines" in handler.path:
        reply(handler, json.dumps([BAR]).encode())
    elif "chart" in handler.path:
        reply(handler, json.dumps(CHART).encode())
    else:
        reply(handler, b"crumb", 200, Content_Type="text/plain")


@pytest.fixture
def server() -> Iterator[Recorder]:
    with serving(vendors) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_cookies_of_this_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """yfinance keeps cookies in the user's cache folder, and one object per process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if HAS_YFINANCE:
        import yfinance

        yfinance.set_tz_cache_location(str(tmp_path))
        from yfinance.data import SingletonMeta

        monkeypatch.setattr(SingletonMeta, "_instances", {})


def paths(server: Recorder) -> list[str]:
    return [path.partition("?")[0] for path, _ in server.requests]


@needs_binance
class TestBinance:
    def test_it_sends_the_very_same_request(self, server: Recorder) -> None:
        for carrier in (None, BinanceCarrier()):
            vendor = BinanceDataDownloader(
                base_url=server.base, sender=sender_over(HttpTransport()), carrier=carrier
            )
            frame = vendor.get_ohlcv("BTCUSDT", "1d", "2024-01-01", "2024-01-02")
            assert frame is not None
            assert frame["close"].tolist() == [1.5]
        plain, sdk = (sorted(path.partition("?")[2].split("&")) for path, _ in server.requests)
        assert plain == sdk
        assert paths(server) == ["/api/v3/klines"] * 2

    def test_errors_are_read_from_the_answer(self, server: Recorder) -> None:
        carrier = BinanceCarrier()
        vendor = BinanceDataDownloader(base_url=server.base, sender=sender_over(carrier))
        with pytest.raises(SymbolNotFoundError):
            vendor.get_ohlcv("NOPE", "1d", "2024-01-01", "2024-01-02")
        busy = carrier.send(HttpRequest(f"{server.base}/api/v3/klines", {"symbol": "BUSY"}))
        assert (busy.status, busy.headers["retry-after"], busy.requests) == (429, "7", 1)
        assert len(server.requests) == 2

    def test_without_an_answer_the_error_is_ours(self) -> None:
        carrier = BinanceCarrier(HttpTransport(timeout=(0.2, 0.2)))
        with pytest.raises(UnavailableError, match="no connection"):
            carrier.send(HttpRequest("http://127.0.0.1:9/api/v3/klines"))
        with pytest.raises(ResponseFormatError, match="no address"):
            carrier.send(HttpRequest("http://127.0.0.1:9/klines"))

    @pytest.mark.parametrize("path", ["/fapi/v1/fundingRate", "/futures/data/openInterestHist"])
    def test_futures_are_asked_without_the_client(self, server: Recorder, path: str) -> None:
        BinanceCarrier().send(HttpRequest(f"{server.base}{path}", {"symbol": "A"}))
        assert paths(server) == [path]

    def test_one_connection_serves_all(self, server: Recorder) -> None:
        carrier = BinanceCarrier()
        for _ in range(3):
            carrier.send(HttpRequest(f"{server.base}/api/v3/klines", {"symbol": "A"}))
        assert server.connections == 1


@needs_yfinance
class TestYahoo:
    def test_the_browser_like_session_sends_one_for_one(self, server: Recorder) -> None:
        carrier = YFinanceCarrier.light()
        vendor = YahooDataDownloader(
            base_url=server.base, sender=sender_over(HttpTransport()), carrier=carrier
        )
        frame = vendor.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-01-03")
        assert frame is not None
        assert frame["close"].tolist() == [2.0]
        [(path, headers)] = server.requests
        assert "interval=1d" in path
        assert "Chrome" in headers["user-agent"]

    def test_through_yfinance_every_hidden_request_is_counted(self, server: Recorder) -> None:
        carrier = YFinanceCarrier()
        request = HttpRequest(f"{server.base}/v8/finance/chart/AAPL", {"interval": "1d"})
        first = carrier.send(request)
        assert first.json() == CHART
        assert first.requests == len(server.requests) > 1
        assert paths(server)[-1] == "/v8/finance/chart/AAPL"
        assert "/v1/test/getcrumb" in paths(server)
        asked = len(server.requests)
        again = carrier.send(request)
        assert again.requests == len(server.requests) - asked

    @pytest.mark.parametrize("symbol, status", [("NOPE", 404), ("BUSY", 429)])
    def test_a_refused_request_is_not_sent_again(
        self, server: Recorder, symbol: str, status: int
    ) -> None:
        carrier = YFinanceCarrier()
        answer = carrier.send(HttpRequest(f"{server.base}/v8/finance/chart/{symbol}"))
        assert answer.status == status
        assert paths(server).count(f"/v8/finance/chart/{symbol}") == 1
        assert answer.requests == len(server.requests)

    def test_it_obeys_our_timeout_and_our_words(self, server: Recorder) -> None:
        import threading

        release = threading.Event()

        def stall(handler: BaseHTTPRequestHandler) -> None:
            release.wait(3)
            handler.close_connection = True

        with serving(stall) as silent:
            carrier = YFinanceCarrier(through_sdk=False, timeout_s=0.1)
            with pytest.raises(ProviderTimeoutError, match=r"127\.0\.0\.1/x did not answer"):
                carrier.send(HttpRequest(f"{silent.base}/x"))
            release.set()
        with pytest.raises(UnavailableError, match=r"no answer from 127\.0\.0\.1/x"):
            YFinanceCarrier(through_sdk=False).send(HttpRequest("http://127.0.0.1:9/x"))

    @pytest.mark.parametrize("through_sdk", [False, True])
    @pytest.mark.parametrize(
        "to", ["http://localhost:{port}/x", "//127.0.0.1:1/x", "https://127.0.0.1:{port}/x"]
    )
    def test_a_redirect_is_followed_on_the_same_host_alone(
        self, through_sdk: bool, to: str
    ) -> None:
        def handle(h: BaseHTTPRequestHandler) -> None:
            if "chart" in h.path:
                reply(h, b"", 302, Location=to.format(port=server.server_port))
            else:
                reply(h, b"crumb")

        with serving(handle) as server:
            carrier = YFinanceCarrier(through_sdk=through_sdk)
            with pytest.raises(ResponseFormatError, match="another host"):
                carrier.send(HttpRequest(f"{server.base}/v8/finance/chart/AAPL"))
            hosts = {headers["host"] for _, headers in server.requests}
        assert hosts == {f"127.0.0.1:{server.server_port}"}
        assert "/x" not in paths(server)

    def test_what_moved_on_the_same_host_is_found(self) -> None:
        def handle(h: BaseHTTPRequestHandler) -> None:
            if h.path.startswith("/old"):
                reply(h, b"", 301, Location="/new?a=b")
            else:
                reply(h, b"[1]")

        with serving(handle) as server:
            found = YFinanceCarrier(through_sdk=False).send(
                HttpRequest(f"{server.base}/old", {"c": 1})
            )
        assert (found.json(), found.requests) == ([1], 2)
        assert [path for path, _ in server.requests] == ["/old?c=1", "/new?a=b"]

    @pytest.mark.parametrize("status", [200, 302, 500])
    def test_a_bomb_is_stopped_at_the_cap(self, status: int) -> None:
        """Twenty megabytes of zeros; what is kept of them is not more than the cap."""
        bomb = gzip.compress(b"0" * 20_000_000)
        send = YFinanceCarrier(through_sdk=False, max_bytes=1_000_000).send
        with serving(lambda h: reply(h, bomb, status, Content_Encoding="gzip")) as server:
            tracemalloc.start()
            with pytest.raises(ResponseFormatError, match="larger than 1000000 bytes"):
                send(HttpRequest(f"{server.base}/x"))
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < 10_000_000

    def test_large_answers_are_refused(self, server: Recorder) -> None:
        carrier = YFinanceCarrier(through_sdk=False, max_bytes=10)
        with pytest.raises(ResponseFormatError, match="larger than 10 bytes"):
            carrier.send(HttpRequest(f"{server.base}/v8/finance/chart/AAPL"))


class TestChoice:
    PLAIN = HttpTransport()

    def choose(self, mode: str, cls: Any) -> Any:
        return choose_transport(mode, cls.sdk_carrier, preferred=cls.prefers_sdk, plain=self.PLAIN)

    @pytest.mark.parametrize("cls", [YahooDataDownloader, BinanceDataDownloader])
    def test_http_is_http(self, cls: Any) -> None:
        assert self.choose("http", cls) is self.PLAIN

    @needs_yfinance
    def test_auto_is_the_browser_for_yahoo(self) -> None:
        assert isinstance(self.choose("auto", YahooDataDownloader), YFinanceCarrier)

    def test_auto_is_http_for_the_others_and_without_the_package(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert self.choose("auto", BinanceDataDownloader) is self.PLAIN
        monkeypatch.setattr(sender_pool, "find_spec", lambda _: None)
        assert self.choose("auto", YahooDataDownloader) is self.PLAIN

    @needs_binance
    def test_sdk_is_the_package(self) -> None:
        assert isinstance(self.choose("sdk", BinanceDataDownloader), BinanceCarrier)

    @pytest.mark.parametrize(
        "cls, extra", [(YahooDataDownloader, "yahoo"), (BinanceDataDownloader, "binance")]
    )
    def test_a_missing_package_is_named_with_its_extra(
        self, cls: Any, extra: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sender_pool, "find_spec", lambda _: None)
        with pytest.raises(MissingExtraError, match=re.escape(install_line(extra))):
            self.choose("sdk", cls)

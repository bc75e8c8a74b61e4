"""Tests vendors' own packages as carriers, against a server on this machine."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import re
import signal
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NamedTuple
from urllib.parse import parse_qs

import pytest
import requests
import responses

from src.data.core.clock import ManualClock
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.request.capabilities import FetchQuery
from src.data.core.model.request.http import HttpRequest
from src.data.core.model.time.span import Span
from src.data.core.net.http import sender_pool
from src.data.core.net.http.http import HttpTransport, Transport
from src.data.core.net.http.sender_pool import choose_transport
from src.data.core.vendors.alpaca.bars import AlpacaDataDownloader
from src.data.core.vendors.alpaca.carrier import AlpacaCarrier
from src.data.core.vendors.base import BaseDataDownloader
from src.data.core.vendors.binance.bars import BinanceDataDownloader
from src.data.core.vendors.binance.carrier import BinanceCarrier
from src.data.core.vendors.yahoo.bars import YahooDataDownloader
from src.data.core.vendors.yahoo.carrier import YFinanceCarrier
from src.data.errors import (
    AuthenticationError,
    DataError,
    MissingExtraError,
    ProviderTimeoutError,
    ResponseFormatError,
    UnavailableError,
    install_line,
)
from tests.core.net.scripted import (
    NOW_MS,
    Recorder,
    ScriptedTransport,
    answer,
    reply,
    sender_over,
    serving,
)
from tests.core.vendors.acme import query
from tests.core.vendors.fresh_yfinance import forget_yfinance
from tests.e2e.fresh import Fresh
from tests.processes import ended, fork, with_locks

HAS_YFINANCE = importlib.util.find_spec("yfinance") is not None
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


def yahoo(handler: BaseHTTPRequestHandler) -> None:
    if "NOPE" in handler.path:
        reply(handler, json.dumps({"chart": {"result": None}}).encode(), 404)
    elif "BUSY" in handler.path:
        reply(handler, b"<html>busy</html>", 429, Retry_After="7")
    elif "chart" in handler.path:
        reply(handler, json.dumps(CHART).encode())
    else:
        reply(handler, b"crumb", 200, Content_Type="text/plain")


@pytest.fixture
def server() -> Iterator[Recorder]:
    """Yield a local server that answers as Yahoo does; NOPE is unknown, BUSY is rate limited."""
    with serving(yahoo) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_cookies_of_this_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let yfinance start without this user's cookies and cached time zones."""
    forget_yfinance(monkeypatch, tmp_path)


def paths(server: Recorder) -> list[str]:
    return [path.partition("?")[0] for path, _ in server.requests]


class Sent(NamedTuple):
    """What counts of one request. By its user agent a package says what it is; the order of a query
    means nothing.
    """

    method: str
    url: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


def sent(calls: responses.CallList) -> list[Sent]:
    found = []
    for asked in [call.request for call in calls]:
        headers = {name: text for name, text in asked.headers.items() if name != "User-Agent"}
        url, _, text = str(asked.url).partition("?")
        query = parse_qs(text, keep_blank_values=True, strict_parsing=True)
        found.append(Sent(str(asked.method), url, query, headers, asked.body))
    return found


class Case(NamedTuple):
    """One vendor and the carrier whose package sends by our transport."""

    vendor: Callable[..., BaseDataDownloader]
    carrier: Callable[..., Transport]
    asked: FetchQuery


ALPACA_KEYS = {"ALPACA_API_KEY": "c4nary-id-0123", "ALPACA_SECRET_KEY": "c4nary+/secret=4567"}
AAPL = Instrument("AAPL", "stock", "XNYS", "America/New_York", quote="USD")
BAR_OF_ALPACA = {
    "t": "2024-01-02T14:30:00Z", "o": 1.5, "h": 2, "l": 1, "c": 1.25, "v": 10, "n": 3, "vw": 1,
}  # fmt: skip
CASES = {
    "binance": Case(BinanceDataDownloader, BinanceCarrier, query("1d", "2024-01-01", "2024-01-03")),
    "alpaca": Case(
        partial(AlpacaDataDownloader, credentials=ALPACA_KEYS),
        AlpacaCarrier,
        query("1m", "2024-01-02T14:00", "2024-01-02T15:00", AAPL),
    ),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    """Return one vendor and its carrier; skip if the carrier's package is not installed."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"the package of {request.param} is not installed")
    return CASES[request.param]


Ask = Callable[[BaseDataDownloader], Any]


def rows(vendor: BaseDataDownloader, asked: FetchQuery) -> list[tuple[float, ...]]:
    table = vendor.fetch(asked).table
    columns = (table.stamps, table.open, table.high, table.low, table.close, table.volume)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def exchanged(case: Case, answers: Sequence[dict[str, Any]], ask: Ask | None = None) -> Any:
    """Return what was sent and what came of it, the same by plain HTTP and by the package."""
    ways = []
    for carrier in (None, case.carrier()):
        clock = ManualClock(NOW_MS)
        sender = sender_over(HttpTransport(), clock=clock)
        vendor, reported = case.vendor(sender=sender, carrier=carrier), Any
        with responses.RequestsMock(assert_all_requests_are_fired=False) as server:
            for one in answers:
                server.get(re.compile("https://"), **one)
            try:
                reported = ask(vendor) if ask else rows(vendor, case.asked)
            except DataError as error:
                reported = type(error), str(error), vars(error)
            ways.append((sent(server.calls), reported, clock.slept))
    assert ways[0] == ways[1]
    return ways[1]


def page(*rows: Any, token: str | None = None, symbol: str = "AAPL") -> dict[str, Any]:
    return {"json": {"bars": {symbol: list(rows)}, "next_page_token": token}}


class TestByRequests:
    """Packages that send by our transport, which sends by ``requests``: the wire is scripted."""

    def test_bars_are_fetched_through_the_binance_package(self) -> None:
        pytest.importorskip("binance")
        (asked,), reported, _ = exchanged(CASES["binance"], [{"json": [BAR]}])
        assert asked.url == "https://data-api.binance.vision/api/v3/klines"
        assert asked.query == {
            "symbol": ["BTCUSDT"], "interval": ["1d"], "limit": ["1000"],
            "startTime": ["1704067200000"], "endTime": ["1704239999999"],
        }  # fmt: skip
        assert [row[4] for row in reported] == [1.5]

    def test_shares_of_alpaca_are_fetched_in_pages(self) -> None:
        pytest.importorskip("alpaca")
        later = BAR_OF_ALPACA | {"t": "2024-01-02T14:31:00Z", "c": 1.75}
        cursor = "QUFQTHxNfDE3MD+/QXYZ=="
        asked, reported, _ = exchanged(
            CASES["alpaca"], [page(BAR_OF_ALPACA, token=cursor), page(later)]
        )
        assert [(one.method, one.url, one.body) for one in asked] == [
            ("GET", "https://data.alpaca.markets/v2/stocks/bars", None)
        ] * 2
        for one in asked:
            assert one.headers["APCA-API-KEY-ID"] == ALPACA_KEYS["ALPACA_API_KEY"]
            assert one.headers["APCA-API-SECRET-KEY"] == ALPACA_KEYS["ALPACA_SECRET_KEY"]
        assert asked[0].query == {
            "symbols": ["AAPL"], "timeframe": ["1Min"], "start": ["2024-01-02T14:00:00Z"],
            "end": ["2024-01-02T14:59:59.999Z"], "limit": ["10000"], "sort": ["asc"],
            "adjustment": ["raw"], "feed": ["sip"],
        }  # fmt: skip
        assert asked[1].query == {**asked[0].query, "page_token": [cursor]}
        assert [row[4] for row in reported] == [1.25, 1.75]

    @pytest.mark.parametrize("name", ["BTC/USD", "A&B=C/D#?", "50%25 +/Ü€", "\U0001f680", " /;,"])
    def test_pairs_of_alpaca_with_special_characters_are_fetched(self, name: str) -> None:
        pytest.importorskip("alpaca")
        odd = Instrument("ODD", "crypto", base="A", quote="B", spellings={"alpaca": name})
        case = CASES["alpaca"]._replace(
            asked=query("1h", "2024-01-02T14:00", "2024-01-02T16:00", odd)
        )
        (asked,), reported, _ = exchanged(
            case, [page(BAR_OF_ALPACA | {"t": "2024-01-02T14:00:00Z"}, symbol=name)]
        )
        assert asked.url == "https://data.alpaca.markets/v1beta3/crypto/us/bars"
        assert asked.query["symbols"] == [name]
        assert len(reported) == 1

    def test_splits_and_dividends_of_alpaca_are_fetched(self) -> None:
        pytest.importorskip("alpaca")
        one, two = (
            {
                "corporate_actions": {
                    "cash_dividends": [{"symbol": "AAPL", "ex_date": day, "rate": 0.205}]
                },
                "next_page_token": token,
            }
            for day, token in (("2020-11-06", "p2=&"), ("2021-02-05", None))
        )
        span = Span(1_577_836_800_000, 1_640_995_200_000)
        asked, reported, _ = exchanged(
            CASES["alpaca"],
            [{"json": one}, {"json": two}],
            lambda vendor: vendor.fetch_actions(AAPL, span, NOW_MS),
        )
        url = "https://data.alpaca.markets/v1/corporate-actions"
        assert [one.url for one in asked] == [url] * 2
        assert asked[1].query == asked[0].query | {"page_token": ["p2=&"]}
        assert [action.amount for action in reported] == [0.205, 0.205]

    @pytest.mark.parametrize(
        "answer, attempts",
        [
            ({"status": 401, "json": {"message": "unauthorized."}}, 1),
            ({"status": 403, "json": {"message": "forbidden."}}, None),
            ({"status": 403, "json": {"message": "not querying recent SIP data"}}, None),
            ({"status": 404, "body": "not found"}, 1),
            ({"status": 400, "json": {"code": -1121, "message": "invalid symbol: X"}}, 1),
            ({"status": 422, "json": {"message": "invalid symbol: X"}}, 1),
            ({"status": 418, "json": {"code": -1003}, "headers": {"Retry-After": "7200"}}, 1),
            ({"status": 429, "body": "slow", "headers": {"Retry-After": "7"}}, 3),
            ({"status": 500, "body": ""}, 3),
            ({"status": 503, "body": "<html>busy</html>"}, 3),
            ({"status": 504, "body": "<html>late</html>"}, 3),
            ({"status": 204, "body": ""}, None),
            ({"status": 304, "body": ""}, None),
            ({"status": 200, "body": ""}, None),
            ({"status": 200, "body": "<html>welcome</html>"}, None),
            ({"status": 200, "body": '{"bars": {"AAPL": [{"t"'}, None),
            ({"status": 200, "body": b"\xff\xfe\x00"}, None),
            ({"status": 200, "body": "[" * 100_000}, None),
            ({"status": 200, "body": "null"}, None),
            ({"status": 302, "body": "", "headers": {"Location": "https://evil.example/x"}}, None),
            ({"body": requests.ReadTimeout("https://x/?key=c4nary")}, 3),
            ({"body": requests.ConnectionError("https://x/?key=c4nary")}, 3),
            ({"body": requests.exceptions.SSLError("c4nary")}, 3),
            ({"body": requests.exceptions.ChunkedEncodingError("c4nary")}, 3),
        ],
    )
    def test_every_error_of_a_vendors_package_becomes_a_typed_error_without_the_key(
        self, case: Case, answer: dict[str, Any], attempts: int | None
    ) -> None:
        asked, reported, slept = exchanged(case, [answer])
        assert issubclass(reported[0], DataError)
        assert "c4nary" not in repr(reported)
        if attempts is not None:
            assert (len(asked), len(slept)) == (attempts, attempts - 1)
        if answer.get("status") == 429:
            assert slept == [7.0, 7.0], "the vendor's own wait, not the package's"

    def test_an_answer_after_a_failed_attempt_is_accepted(self, case: Case) -> None:
        good = {"json": [BAR]} if case is CASES["binance"] else page(BAR_OF_ALPACA)
        asked, reported, slept = exchanged(case, [{"status": 503}, good])
        assert (len(asked), len(reported), len(slept)) == (2, 1, 1)

    def test_a_response_too_large_for_memory_is_not_parsed_by_the_package(
        self, case: Case, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Four megabytes that would take 300 of it."""
        parsed: list[requests.Response] = []
        monkeypatch.setattr(requests.Response, "json", lambda self: parsed.append(self))
        _, reported, _ = exchanged(case, [{"body": b"[" + b"{}," * 1_400_000 + b"{}]"}])
        assert reported[0] is ResponseFormatError
        assert "MiB of values" in reported[1]
        assert parsed == []

    def test_a_key_quoted_in_a_response_is_masked(self, caplog: Any) -> None:
        pytest.importorskip("alpaca")
        caplog.set_level(0)
        quoted = " ".join(ALPACA_KEYS.values())
        for status in (200, 403, 500):
            _, reported, _ = exchanged(CASES["alpaca"], [{"status": status, "body": quoted}])
            assert "c4nary" not in repr(reported)
        assert "c4nary" not in caplog.text

    @pytest.mark.parametrize("letter", ["\n", "\r\n X: y"])
    def test_the_error_for_a_key_invalid_in_headers_does_not_show_it(self, letter: str) -> None:
        pytest.importorskip("alpaca")
        keys = {"ALPACA_API_KEY": f"c4nary{letter}0123", "ALPACA_SECRET_KEY": "c4nary-secret"}
        for carrier in (None, AlpacaCarrier()):
            vendor = AlpacaDataDownloader(
                credentials=keys, sender=sender_over(HttpTransport()), carrier=carrier
            )
            with responses.RequestsMock() as server:
                server.assert_all_requests_are_fired = False
                server.get(re.compile("https://"), json={})
                with pytest.raises(AuthenticationError, match="invalid in a header") as caught:
                    vendor.fetch(CASES["alpaca"].asked)
            error: BaseException | None = caught.value
            while error is not None:
                assert "c4nary" not in f"{error!r} {vars(error)}"
                error = error.__cause__ or error.__context__

    def test_keys_are_not_logged_by_the_libraries_of_the_package(self) -> None:
        pytest.importorskip("alpaca")
        below = ScriptedTransport(answer({}))
        keys = {"APCA-API-KEY-ID": "c4nary-id", "APCA-API-SECRET-KEY": "c4nary-secret"}
        asked = HttpRequest("https://data.alpaca.markets/v2/stocks/bars", secret_headers=keys)
        AlpacaCarrier(below).send(asked)
        assert below.asked[0].secret_headers == keys
        assert "c4nary" not in repr(below.asked[0])

    def test_each_thread_and_each_key_has_its_own_client(self) -> None:
        pytest.importorskip("alpaca")
        below = ScriptedTransport(*[answer([number]) for number in range(40)])
        carrier, url = AlpacaCarrier(below), "https://data.alpaca.markets/v2/stocks/bars"

        def ask(number: int) -> None:
            keys = {"APCA-API-KEY-ID": f"id-{number}", "APCA-API-SECRET-KEY": f"s-{number}"}
            carrier.send(HttpRequest(url, {"page_token": number}, secret_headers=keys))

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(ask, range(40)))
        pairs = {
            (r.params["page_token"], *(v.partition("-")[2] for v in r.secret_headers.values()))
            for r in below.asked
        }
        assert pairs == {(str(n), str(n), str(n)) for n in range(40)}

    @pytest.mark.parametrize(
        "url", ["https://vendor.example/klines", "https://vendor.example/v2", "https:///v2/bars"]
    )
    def test_an_address_that_the_package_cannot_use_is_refused(self, case: Case, url: str) -> None:
        below = ScriptedTransport()
        with pytest.raises(ResponseFormatError, match="cannot use the address"):
            case.carrier(below).send(HttpRequest(url))
        assert below.asked == []

    def test_a_mirror_below_a_path_is_queried_at_that_path(self) -> None:
        pytest.importorskip("alpaca")
        case = CASES["alpaca"]
        case = case._replace(
            vendor=partial(case.vendor, base_url="https://proxy.example:8443/v2/of/alpaca/")
        )
        (asked,), *_ = exchanged(case, [page(BAR_OF_ALPACA)])
        assert asked.url == "https://proxy.example:8443/v2/of/alpaca/v2/stocks/bars"

    def test_a_package_that_cannot_be_imported_is_named(
        self, case: Case, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file of that name in the user's folder hides it, or its own requirements are broken."""
        name = "binance" if case is CASES["binance"] else "alpaca"
        for module in [one for one in sys.modules if one.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        with pytest.raises(MissingExtraError, match="cannot be imported") as caught:
            case.carrier(ScriptedTransport()).send(HttpRequest("https://x.example/api/v3/bars"))
        assert install_line(name) in str(caught.value)
        assert "transport: http" in str(caught.value)

    def test_a_package_version_that_bypasses_our_session_sends_no_request(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else keys would go out by a session without a timeout and with retries."""
        rest = pytest.importorskip("alpaca.common.rest")
        begin = rest.RESTClient.__init__

        def renamed(self: Any, *args: Any, **options: Any) -> None:
            begin(self, *args, **options)
            self.http = self.__dict__.pop("_session")

        monkeypatch.setattr(rest.RESTClient, "__init__", renamed)
        below = ScriptedTransport()
        vendor = CASES["alpaca"].vendor(sender=sender_over(AlpacaCarrier(below)))
        with (
            responses.RequestsMock() as server,
            pytest.raises(UnavailableError, match="could not query"),
        ):
            vendor.fetch(CASES["alpaca"].asked)
        assert len(server.calls) == len(below.asked) == 0

    def test_their_use_of_deprecated_names_reaches_no_caller(self, fresh: Fresh) -> None:
        """Nor do our own streams load what they use: websockets.legacy is going to be removed."""
        pytest.importorskip("alpaca")
        pytest.importorskip("binance")
        program = (
            "import sys, warnings\n"
            "from src.data.core.model.request.http import HttpRequest\n"
            "from src.data.core.net.http.websocket import Dialer\n"
            "from src.data.core.registry import VENDORS, load\n"
            "from src.data.core.vendors.alpaca.carrier import AlpacaCarrier\n"
            "from src.data.core.vendors.binance.carrier import BinanceCarrier\n"
            "from tests.core.net.scripted import ScriptedTransport, answer\n"
            "import websocket\n"
            "streams = [load(row.stream) for row in VENDORS.values() if row.stream]\n"
            "print(len(streams) > 3, 'websockets' in sys.modules)\n"
            "warnings.simplefilter('error')\n"
            "keys = {'APCA-API-KEY-ID': 'id', 'APCA-API-SECRET-KEY': 'secret'}\n"
            "for carrier, path in (AlpacaCarrier, 'v2/stocks/bars'), (BinanceCarrier, 'api/v3/klines'):\n"
            "    below = ScriptedTransport(answer([]))\n"
            "    url = 'https://vendor.example/' + path\n"
            "    carrier(below).send(HttpRequest(url, secret_headers=keys))\n"
            "    print(len(below.asked), 'websockets.legacy' in sys.modules)\n"
        )
        assert fresh.run(program).splitlines() == ["True False", "1 False", "1 True"]

    @pytest.mark.parametrize("path", ["/fapi/v1/fundingRate", "/futures/data/openInterestHist"])
    def test_futures_of_binance_are_requested_without_the_client(self, path: str) -> None:
        below = ScriptedTransport(answer([]))
        request = HttpRequest(f"https://fapi.binance.com{path}", {"symbol": "A"})
        BinanceCarrier(below).send(request)
        assert below.asked == [request]


def klines_or_bars(handler: BaseHTTPRequestHandler) -> None:
    reply(handler, json.dumps([]).encode())


class TestSocketsByRequests:
    """What only a real connection shows."""

    ADDRESSES: ClassVar[dict[str, str]] = {"binance": "/api/v3/klines", "alpaca": "/v2/stocks/bars"}
    KEYS: ClassVar[dict[str, str]] = {"APCA-API-KEY-ID": "i" * 9, "APCA-API-SECRET-KEY": "s" * 9}

    def request(self, case: Case, base: str) -> HttpRequest:
        (name,) = [name for name in CASES if CASES[name] is case]
        return HttpRequest(base + self.ADDRESSES[name], {"symbol": "A"}, secret_headers=self.KEYS)

    def test_one_connection_serves_all(self, case: Case) -> None:
        carrier = case.carrier()
        with serving(klines_or_bars) as server:
            for _ in range(3):
                assert carrier.send(self.request(case, server.base)).requests == 1
            assert server.connections == 1

    def test_a_missing_answer_raises_our_error(self, case: Case) -> None:
        carrier = case.carrier(HttpTransport(timeout=(0.2, 0.2)))
        with pytest.raises(UnavailableError, match="no connection"):
            carrier.send(self.request(case, "http://127.0.0.1:9"))

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
    def test_a_forked_child_opens_its_own_connection(self, case: Case) -> None:
        """On its parent's the answers of both would mix, and its parent's lock may be held."""
        transport, (lock,) = with_locks(HttpTransport)
        carrier = case.carrier(transport)
        with serving(klines_or_bars) as server:
            request = self.request(case, server.base)
            carrier.send(request)

            def send_as_a_child() -> None:
                signal.alarm(20)
                assert carrier.send(request).status == 200

            with lock:
                child = fork(send_as_a_child)
            assert ended(child) == 0
            carrier.send(request)
            assert (server.connections, len(server.requests)) == (2, 3)
        transport.close()


@needs_yfinance
class TestYahoo:
    def test_the_browser_like_session_sends_one_request_per_call(self, server: Recorder) -> None:
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

    def test_every_hidden_request_of_yfinance_is_counted(self, server: Recorder) -> None:
        carrier = YFinanceCarrier()
        request = HttpRequest(f"{server.base}/v8/finance/chart/AAPL", {"interval": "1d"})
        first = carrier.send(request)
        assert first.json() == CHART
        assert first.requests == len(server.requests) > 1
        assert paths(server)[-1] == "/v8/finance/chart/AAPL"
        assert "interval=1d" in server.requests[-1][0]
        assert "/v1/test/getcrumb" in paths(server)
        asked = len(server.requests)
        again = carrier.send(request)
        assert again.requests == len(server.requests) - asked

    def test_yfinance_is_imported_only_if_it_sends_requests(
        self, server: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A session does not import it, and a file that hides it does not matter there."""
        for module in [one for one in sys.modules if one.partition(".")[0] == "yfinance"]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setitem(sys.modules, "yfinance", ModuleType("yfinance"))
        request = HttpRequest(f"{server.base}/v8/finance/chart/AAPL")
        assert YFinanceCarrier(through_sdk=False).send(request).json() == CHART
        with pytest.raises(MissingExtraError, match="yfinance cannot be imported") as caught:
            YFinanceCarrier().send(request)
        assert install_line("yahoo") in str(caught.value)
        assert len(server.requests) == 1

    @pytest.mark.parametrize("symbol, status", [("NOPE", 404), ("BUSY", 429)])
    def test_a_refused_request_is_not_sent_again(
        self, server: Recorder, symbol: str, status: int
    ) -> None:
        carrier = YFinanceCarrier()
        answer = carrier.send(HttpRequest(f"{server.base}/v8/finance/chart/{symbol}"))
        assert answer.status == status
        assert paths(server).count(f"/v8/finance/chart/{symbol}") == 1
        assert answer.requests == len(server.requests)

    def test_the_yfinance_carrier_obeys_our_timeout_and_raises_our_errors(
        self, server: Recorder
    ) -> None:
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
    def test_a_redirect_is_followed_only_on_the_same_host(self, through_sdk: bool, to: str) -> None:
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

    def test_the_yfinance_carrier_follows_a_redirect_only_on_the_same_host(self) -> None:
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
    def test_a_gzip_bomb_is_stopped_at_the_cap(self, status: int) -> None:
        """Twelve megabytes of zeros; what is kept of them is not more than the cap."""
        bomb = gzip.compress(b"0" * 12_000_000, 1)
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
        return choose_transport(mode, cls, http=self.PLAIN)

    BY_SDK: ClassVar[dict[str, Any]] = {
        "yahoo": YahooDataDownloader,
        "binance": BinanceDataDownloader,
        "alpaca": AlpacaDataDownloader,
    }

    @pytest.mark.parametrize("vendor", BY_SDK)
    def test_transport_http_selects_the_plain_transport(self, vendor: str) -> None:
        assert self.choose("http", self.BY_SDK[vendor]) is self.PLAIN

    @needs_yfinance
    def test_transport_auto_selects_the_browser_like_transport_for_yahoo(self) -> None:
        assert isinstance(self.choose("auto", YahooDataDownloader), YFinanceCarrier)

    def test_transport_auto_selects_http_for_other_vendors_and_without_the_package(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert self.choose("auto", BinanceDataDownloader) is self.PLAIN
        assert self.choose("auto", AlpacaDataDownloader) is self.PLAIN
        monkeypatch.setattr(sender_pool, "find_spec", lambda _: None)
        assert self.choose("auto", YahooDataDownloader) is self.PLAIN

    @pytest.mark.parametrize("case", CASES, indirect=True)
    def test_transport_sdk_selects_the_package_of_the_vendor(self, case: Case) -> None:
        cls = case.vendor.func if isinstance(case.vendor, partial) else case.vendor
        assert isinstance(self.choose("sdk", cls), case.carrier)

    @pytest.mark.parametrize(
        "vendor, package",
        [("yahoo", "yfinance"), ("binance", "python-binance"), ("alpaca", "alpaca-py")],
    )
    def test_a_missing_package_is_named_with_its_extra(
        self, vendor: str, package: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sender_pool, "find_spec", lambda _: None)
        message = f"transport: sdk needs {package} ({install_line(vendor)}, or set transport: http)"
        with pytest.raises(MissingExtraError, match=f"^{re.escape(message)}$"):
            self.choose("sdk", self.BY_SDK[vendor])

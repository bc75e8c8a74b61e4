"""ccxt over our transport: what is sent, counted and kept, against a server on this machine."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from src.data.clock import ManualClock
from src.data.errors import ResponseFormatError, UnavailableError
from src.data.model.http import HttpRequest
from src.data.vendors.ccxt.carrier import ERROR_HEADER, CcxtCarrier
from tests.net.scripted import NOW_MS, Recorder, reply, serving
from tests.vendors.test_carriers import BAR, paths

# One worker of many imports ccxt, which takes its time.
pytestmark = [
    pytest.mark.xdist_group("ccxt"),
    pytest.mark.skipif(importlib.util.find_spec("ccxt") is None, reason="ccxt is not installed"),
]
PAIRS = "/api/v3/exchangeInfo"
BARS = "/api/v3/klines"


def pair(base: str) -> dict[str, Any]:
    return {"symbol": f"{base}USDT", "status": "TRADING", "baseAsset": base, "quoteAsset": "USDT",
            "isSpotTradingAllowed": True, "filters": []}  # fmt: skip


class Exchange:
    """Speaks as Binance does; its pairs and its refusals are scripted."""

    def __init__(self) -> None:
        self.pairs = ["BTC"]
        self.refusal: tuple[int, Any, dict[str, str]] | None = None
        self.body: bytes = json.dumps([BAR]).encode()

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        if self.refusal is not None:
            status, body, headers = self.refusal
            reply(handler, json.dumps(body).encode(), status, **headers)
        elif handler.path.startswith(PAIRS):
            reply(handler, json.dumps({"symbols": [pair(p) for p in self.pairs]}).encode())
        else:
            reply(handler, self.body)


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


@pytest.fixture
def server(exchange: Exchange) -> Iterator[Recorder]:
    with serving(exchange) as running:
        yield running


def ask(server: Recorder, symbol: str = "BTC/USDT") -> HttpRequest:
    asked: dict[str, str | int] = {"symbol": symbol, "timeframe": "1d", "since": BAR[0], "limit": 9}
    return HttpRequest(f"{server.base}/binance/bars", asked)


def test_all_it_asks_goes_to_the_named_host_and_is_counted(server: Recorder) -> None:
    carrier = CcxtCarrier("binance")
    first, second = carrier.send(ask(server)), carrier.send(ask(server))
    assert first.json() == [[BAR[0], 1, 2, 0.5, 1.5, 10]]
    assert paths(server) == [PAIRS, BARS, BARS]
    assert (first.requests, second.requests) == (2, 1)
    query = server.requests[-1][0]
    assert f"startTime={BAR[0]}" in query
    assert "symbol=BTCUSDT" in query
    assert "limit=9" in query


def test_a_pair_listed_since_is_found_when_the_list_is_old(
    server: Recorder, exchange: Exchange
) -> None:
    clock = ManualClock(NOW_MS)
    carrier = CcxtCarrier("binance", clock=clock)
    carrier.send(ask(server))
    exchange.pairs.append("NEW")
    early = carrier.send(ask(server, "NEW/USDT"))
    assert early.headers[ERROR_HEADER].split()[0] == "BadSymbol"
    assert early.requests == 1
    clock.advance(3601)
    assert carrier.send(ask(server, "NEW/USDT")).json()
    clock.advance(3601)
    carrier.send(ask(server))
    assert paths(server).count(PAIRS) == 2


@pytest.mark.parametrize(
    "status, body, headers, name",
    [
        (429, {"code": -1003, "msg": "slow"}, {"Retry_After": "7"}, "DDoSProtection"),
        (418, {"code": -1003, "msg": "banned"}, {}, "DDoSProtection"),
        (400, {"code": -1121, "msg": "Invalid symbol."}, {}, "BadSymbol"),
        (503, {}, {}, "ExchangeNotAvailable"),
    ],
)
def test_a_refusal_is_told_once_with_its_status(
    server: Recorder, exchange: Exchange, status: int, body: Any, headers: dict[str, str], name: str
) -> None:
    carrier = CcxtCarrier("binance")
    carrier.send(ask(server))
    exchange.refusal = status, body, headers
    told = carrier.send(ask(server))
    assert told.status == status
    assert name in told.headers[ERROR_HEADER].split()
    assert told.headers.get("retry-after") == headers.get("Retry_After")
    assert (told.requests, len(server.requests)) == (1, 3), "ccxt asks nothing again"


@pytest.mark.parametrize(
    "body", [b"<html>busy</html>", b'{"message": "we will be back"}', b'[[1, "2"'],
    ids=["html", "apology", "cut"],
)  # fmt: skip
def test_what_ccxt_takes_for_no_bars_is_not_believed(
    server: Recorder, exchange: Exchange, body: bytes
) -> None:
    carrier = CcxtCarrier("binance")
    exchange.body = b"[]"
    assert carrier.send(ask(server)).json() == []
    exchange.body = body
    with pytest.raises(ResponseFormatError):
        carrier.send(ask(server))


def test_what_it_cannot_read_is_said(server: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumbles(*_: Any) -> Any:
        raise KeyError("x")

    monkeypatch.setattr("ccxt.binance.fetch_ohlcv", stumbles)
    with pytest.raises(ResponseFormatError, match="ccxt cannot read what binance answered"):
        CcxtCarrier("binance").send(ask(server))


def test_without_an_answer_the_error_is_ours() -> None:
    with pytest.raises(UnavailableError, match="no connection"):
        CcxtCarrier("binance").send(
            HttpRequest("http://127.0.0.1:9/binance/bars", {"symbol": "BTC/USDT"})
        )


def hyperliquid(handler: BaseHTTPRequestHandler) -> None:
    """Speak as Hyperliquid does, by its documentation: one address, asked by POST."""
    asked = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
    if handler.command != "POST" or handler.headers["Content-Type"] != "application/json":
        reply(handler, b"Failed to deserialize the JSON body into the target type", 422)
    elif asked["type"] == "spotMetaAndAssetCtxs":
        tokens = [{"name": "USDC", "szDecimals": 8}, {"name": "PURR", "szDecimals": 0}]
        pairs = [{"name": "PURR/USDC", "tokens": [1, 0], "index": 0, "isCanonical": True}]
        listed = [{"tokens": tokens, "universe": pairs}, [{"midPx": "0.209265"}]]
        reply(handler, json.dumps(listed).encode())
    else:
        wanted = asked["req"]
        assert (asked["type"], wanted["interval"]) == ("candleSnapshot", "1d")
        bar = {"t": wanted["startTime"], "T": wanted["startTime"] + 86_399_999, "i": "1d",
               "s": wanted["coin"], "o": "1.0", "h": "2.0", "l": "0.5", "c": "1.5", "v": "10.0",
               "n": 46}  # fmt: skip
        reply(handler, json.dumps([bar]).encode())


def test_an_exchange_that_is_asked_by_post_is_asked_so() -> None:
    with serving(hyperliquid) as server:
        asked: dict[str, str | int] = {
            "symbol": "PURR/USDC", "timeframe": "1d", "since": BAR[0], "limit": 9,
        }  # fmt: skip
        told = CcxtCarrier("hyperliquid").send(
            HttpRequest(f"{server.base}/hyperliquid/bars", asked)
        )
        assert told.json() == [[BAR[0], 1, 2, 0.5, 1.5, 10]]
        assert paths(server) == ["/info", "/info"]

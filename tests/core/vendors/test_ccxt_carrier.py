"""ccxt over our transport: what is sent, counted and kept."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import requests
import responses

from src.data.core.clock import ManualClock
from src.data.core.model.request.http import HttpRequest
from src.data.core.vendors.ccxt.carrier import ERROR_HEADER, CcxtCarrier, exchanges_with_bars
from src.data.errors import MissingExtraError, ResponseFormatError, UnavailableError
from tests.core.net.scripted import NOW_MS
from tests.core.vendors.test_carriers import BAR

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ccxt") is None, reason="ccxt is not installed"
)
BASE = "https://exchange.example"
PAIRS = f"{BASE}/api/v3/exchangeInfo"
BARS = f"{BASE}/api/v3/klines"


def pair(base: str) -> dict[str, Any]:
    return {"symbol": f"{base}USDT", "status": "TRADING", "baseAsset": base, "quoteAsset": "USDT",
            "isSpotTradingAllowed": True, "filters": []}  # fmt: skip


@pytest.fixture
def exchange() -> Iterator[responses.RequestsMock]:
    """Speaks as Binance does."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as scripted:
        scripted.get(PAIRS, json={"symbols": [pair("BTC")]})
        scripted.get(BARS, json=[BAR])
        yield scripted


def ask(symbol: str = "BTC/USDT", exchange: str = "binance") -> HttpRequest:
    asked: dict[str, str | int] = {"symbol": symbol, "timeframe": "1d", "since": BAR[0], "limit": 9}
    return HttpRequest(f"{BASE}/{exchange}/bars", asked)


def addresses(exchange: responses.RequestsMock) -> list[str]:
    return [str(call.request.url).partition("?")[0] for call in exchange.calls]


def test_all_requests_of_ccxt_go_to_the_named_host_and_are_counted(
    exchange: responses.RequestsMock,
) -> None:
    carrier = CcxtCarrier("binance")
    first, second = carrier.send(ask()), carrier.send(ask())
    assert first.json() == [[BAR[0], 1, 2, 0.5, 1.5, 10]]
    assert addresses(exchange) == [PAIRS, BARS, BARS]
    assert (first.requests, second.requests) == (2, 1)
    query = exchange.calls[-1].request.params
    assert (query["startTime"], query["symbol"], query["limit"]) == (str(BAR[0]), "BTCUSDT", "9")


def test_a_newly_listed_pair_is_found_once_the_list_of_pairs_is_old(
    exchange: responses.RequestsMock,
) -> None:
    clock = ManualClock(NOW_MS)
    carrier = CcxtCarrier("binance", clock=clock)
    carrier.send(ask())
    exchange.replace(responses.GET, PAIRS, json={"symbols": [pair("BTC"), pair("NEW")]})
    early = carrier.send(ask("NEW/USDT"))
    assert early.headers[ERROR_HEADER].split()[0] == "BadSymbol"
    assert early.requests == 1
    clock.advance(3601)
    assert carrier.send(ask("NEW/USDT")).json()
    clock.advance(3601)
    carrier.send(ask())
    assert addresses(exchange).count(PAIRS) == 2


@pytest.mark.parametrize(
    "status, body, headers, name",
    [
        (429, {"code": -1003, "msg": "slow"}, {"Retry-After": "7"}, "DDoSProtection"),
        (418, {"code": -1003, "msg": "banned"}, {}, "DDoSProtection"),
        (400, {"code": -1121, "msg": "Invalid symbol."}, {}, "BadSymbol"),
        (503, {}, {}, "ExchangeNotAvailable"),
    ],
)
def test_a_refusal_is_reported_once_with_its_status(
    exchange: responses.RequestsMock, status: int, body: Any, headers: dict[str, str], name: str
) -> None:
    carrier = CcxtCarrier("binance")
    carrier.send(ask())
    exchange.replace(responses.GET, BARS, json=body, status=status, headers=headers)
    reported = carrier.send(ask())
    assert reported.status == status
    assert name in reported.headers[ERROR_HEADER].split()
    assert reported.headers.get("retry-after") == headers.get("Retry-After")
    assert (reported.requests, len(exchange.calls)) == (1, 3), "ccxt asks nothing again"


@pytest.mark.parametrize(
    "body",
    [b"<html>busy</html>", b'{"message": "we will be back"}', b'[[1, "2"', b"[" * 100_000],
    ids=["html", "apology", "cut", "deep"],
)  # fmt: skip
def test_a_malformed_answer_that_ccxt_reads_as_no_bars_is_rejected(
    exchange: responses.RequestsMock, body: bytes
) -> None:
    carrier = CcxtCarrier("binance")
    exchange.replace(responses.GET, BARS, json=[])
    assert carrier.send(ask()).json() == []
    exchange.replace(responses.GET, BARS, body=body)
    with pytest.raises(ResponseFormatError):
        carrier.send(ask())


@pytest.mark.parametrize(
    "rows",
    [
        [BAR, [BAR[0] + 86_400_000, *BAR[2:]]],
        [[BAR[0], *BAR[2:]]],
        [[BAR[0], *BAR[2:6]]],
        [BAR, None],
        [None],
        [BAR, {}],
    ],
    ids=["shorter", "all shorter", "too short", "null", "only null", "mixed"],
)
def test_rows_that_ccxt_would_shift_or_drop_are_refused(
    exchange: responses.RequestsMock, rows: list[Any]
) -> None:
    carrier = CcxtCarrier("binance")
    carrier.send(ask())
    exchange.replace(responses.GET, BARS, json=rows)
    with pytest.raises(ResponseFormatError):
        carrier.send(ask())


def test_an_answer_that_ccxt_cannot_read_raises_a_format_error(
    exchange: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumbles(*_: Any) -> Any:
        raise KeyError("x")

    monkeypatch.setattr("ccxt.binance.fetch_ohlcv", stumbles)
    with pytest.raises(ResponseFormatError, match="ccxt cannot read the answer from binance"):
        CcxtCarrier("binance").send(ask())


def test_a_file_that_hides_ccxt_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    hiding = ModuleType("ccxt")
    hiding.__file__ = "mine/ccxt.py"
    monkeypatch.setitem(sys.modules, "ccxt", hiding)
    with pytest.raises(MissingExtraError, match=r"mine/ccxt\.py is imported in place of ccxt"):
        exchanges_with_bars()


def test_a_missing_answer_raises_our_error() -> None:
    with pytest.raises(UnavailableError, match="no connection"):
        CcxtCarrier("binance").send(
            HttpRequest("http://127.0.0.1:9/binance/bars", {"symbol": "BTC/USDT"})
        )


def hyperliquid(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
    """Answer like Hyperliquid's documented API: one address, queried by POST."""
    asked = json.loads(request.body or "")
    if request.headers["Content-Type"] != "application/json":
        return 422, {}, "Failed to deserialize the JSON body into the target type"
    if asked["type"] == "spotMetaAndAssetCtxs":
        tokens = [{"name": "USDC", "szDecimals": 8}, {"name": "PURR", "szDecimals": 0}]
        pairs = [{"name": "PURR/USDC", "tokens": [1, 0], "index": 0, "isCanonical": True}]
        listed = [{"tokens": tokens, "universe": pairs}, [{"midPx": "0.209265"}]]
        return 200, {}, json.dumps(listed)
    wanted = asked["req"]
    assert (asked["type"], wanted["interval"]) == ("candleSnapshot", "1d")
    bar = {"t": wanted["startTime"], "T": wanted["startTime"] + 86_399_999, "i": "1d",
           "s": wanted["coin"], "o": "1.0", "h": "2.0", "l": "0.5", "c": "1.5", "v": "10.0",
           "n": 46}  # fmt: skip
    return 200, {}, json.dumps([bar])


def test_an_exchange_that_needs_post_requests_gets_them(exchange: responses.RequestsMock) -> None:
    exchange.add_callback(responses.POST, f"{BASE}/info", hyperliquid)
    reported = CcxtCarrier("hyperliquid").send(ask("PURR/USDC", "hyperliquid"))
    assert reported.json() == [[BAR[0], 1, 2, 0.5, 1.5, 10]]
    assert addresses(exchange) == [f"{BASE}/info"] * 2

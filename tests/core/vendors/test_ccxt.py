"""Exchanges by ccxt: names, what each serves, what is asked, what ccxt reads out of real answers."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.kind import Kind
from src.data.core.model.request.capabilities import FetchQuery
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.vendors.ccxt import bars as ccxt_bars
from src.data.core.vendors.ccxt import carrier as ccxt_carrier
from src.data.core.vendors.ccxt.bars import CCXTDataDownloader
from src.data.core.vendors.ccxt.carrier import ERROR_HEADER, CcxtCarrier
from src.data.core.vendors.factory import (
    DataDownloaderFactory,
    canonical_name,
    downloader_class,
    usable_class,
)
from src.data.errors import (
    CapabilityError,
    ConfigError,
    DataError,
    EntitlementError,
    KindMismatchError,
    MissingExtraError,
    NoDataError,
    ProviderTimeoutError,
    RateLimitedError,
    ResponseFormatError,
    SymbolNotFoundError,
    UnavailableError,
    UnknownProviderError,
    install_line,
)
from tests.core.net.scripted import ScriptedTransport, answer, sender_over
from tests.core.vendors.acme import recorded
from tests.reference import needs_reference

HAS_CCXT = importlib.util.find_spec("ccxt") is not None
needs_ccxt = pytest.mark.skipif(not HAS_CCXT, reason="ccxt is not installed")
HOUR, DAY = 3_600_000, 86_400_000
BTC = Instrument("BTCUSDT", "crypto", base="BTC", quote="USDT")
DOLLARS = Instrument("BTC-USD", "crypto", base="BTC", quote="USD")


def query(who: Instrument, label: str, start: int, end: int) -> FetchQuery:
    return FetchQuery(who, Timeframe.parse(label), Span(start, end), end + DAY)


def made(exchange: str, *answers: Any) -> tuple[CCXTDataDownloader, ScriptedTransport]:
    """Return an exchange over a script in place of its carrier."""
    transport = ScriptedTransport(*answers)
    cls = CCXTDataDownloader.member(f"ccxt:{exchange}")
    return cls(carrier=transport, sender=sender_over(transport)), transport


class TestNames:
    def test_each_exchange_of_ccxt_is_its_own_vendor(self) -> None:
        assert canonical_name(" CCXT:Kraken ") == "ccxt:kraken"
        assert [canonical_name(name) for name in ("ccxt:", "ccxt:a/b", "yahoo:x", ":x")] == [
            None
        ] * 4

    def test_the_error_for_ccxt_without_an_exchange_asks_for_one(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.raises(ConfigError, match=r"name one .*ccxt:kraken"):
            CCXTDataDownloader()
        assert DataDownloaderFactory.create_downloader("ccxt") is None
        assert "ccxt:kraken" in caplog.text

    @needs_ccxt
    def test_an_exchange_unknown_to_ccxt_is_refused(self) -> None:
        with pytest.raises(UnknownProviderError, match="did you mean ccxt:kraken"):
            downloader_class("ccxt:kraaken")
        with pytest.raises(UnknownProviderError, match="no bars"):
            downloader_class("ccxt:coinspot")

    def test_without_the_package_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(name: str) -> Any:
            raise ImportError(name)

        ccxt_carrier.facts_of.cache_clear()
        ccxt_bars.member_class.cache_clear()
        monkeypatch.setattr(ccxt_carrier, "import_module", missing)
        with pytest.raises(MissingExtraError, match=re.escape(install_line("ccxt"))):
            downloader_class("ccxt:bitfinex")
        assert usable_class("ccxt:bitfinex") is None


@needs_ccxt
class TestDeclared:
    def test_each_exchange_declares_its_own_timeframes_and_page_size(self) -> None:
        okx, coinbase = (downloader_class(f"ccxt:{n}") for n in ("okx", "coinbaseexchange"))
        assert (okx.capabilities.page_bars, coinbase.capabilities.page_bars) == (300, 300)
        assert "4h" in okx.capabilities.timeframes
        assert "4h" not in coinbase.capabilities.timeframes
        assert okx.capabilities.kind(BTC).venue == "okx"
        assert okx.capabilities.kind(DOLLARS).unit == "USD"
        assert okx.default_base_url == "https://www.okx.com"
        assert okx.name == "ccxt:okx"

    def test_timeframes_longer_than_a_day_or_shorter_than_a_minute_are_not_served(self) -> None:
        for name in ("binance", "gate", "kraken"):
            labels = set(downloader_class(f"ccxt:{name}").capabilities.timeframes)
            assert labels.isdisjoint({"1s", "10s", "1w", "7d", "2w", "1M", "3d"}), name

    def test_kraken_reaches_back_720_bars(self) -> None:
        depth = downloader_class("ccxt:kraken").capabilities.depth_days
        assert depth == {"5m": 2, "15m": 7, "30m": 15, "1h": 30, "4h": 120, "1d": 720}
        assert "1m" not in downloader_class("ccxt:kraken").capabilities.timeframes


@needs_ccxt
class TestAsking:
    @pytest.mark.parametrize(
        "who, spelled",
        [
            (BTC, "BTC/USDT"),
            (DOLLARS, "BTC/USD"),
            (Instrument("BTC/USDT:USDT", "crypto"), "BTC/USDT:USDT"),
            (Instrument("X", "crypto", base="X", quote="Y", spellings={"ccxt:okx": "Z/Y"}), "Z/Y"),
            (Instrument("X", "crypto", base="X", quote="Y", spellings={"ccxt": "W/Y"}), "W/Y"),
        ],
        ids=["joined", "dashed", "own-word", "spelled-here", "spelled-everywhere"],
    )
    def test_pairs_are_written_with_a_slash(self, who: Instrument, spelled: str) -> None:
        okx, _ = made("okx")
        asked = okx.bars_request(query(who, "1h", 0, 5 * HOUR), None)
        assert asked.params == {"symbol": spelled, "timeframe": "1h", "since": 0, "limit": 5}
        assert asked.url == "https://www.okx.com/okx/bars"

    def test_pages_follow_the_last_bar_and_skip_quiet_times(self) -> None:
        def bars(*hours: int) -> HttpResponse:
            return answer([[h * HOUR, 1, 2, 0.5, 1.5, None] for h in hours])

        okx, script = made("okx", bars(*range(300)), bars(), bars(600, 619))
        found = okx.fetch(query(BTC, "1h", 0, 620 * HOUR))
        assert [r.params["since"] for r in script.asked] == [0, 300 * HOUR, 600 * HOUR, 611 * HOUR][
            :3
        ]
        assert [r.params["limit"] for r in script.asked] == [300, 300, 20]
        assert len(found.table) == 302
        assert (found.vendor, found.kind.venue, found.dense) == ("ccxt:okx", "okx", False)

    def test_bars_off_the_grid_of_the_timeframe_are_refused(self) -> None:
        """Days of Singapore begin at 16:00 UTC."""
        late = 90 * HOUR + 1_694_789
        rows = [[at, 1, 2, 0.5, 1.5, 3] for at in (89 * HOUR, late)]
        hours = made("okx", answer(rows))[0].fetch(query(BTC, "1h", 89 * HOUR, 91 * HOUR))
        assert hours.table.stamps.tolist() == [89 * HOUR, late], "a halt begins no other day"
        okx, _ = made("okx", answer([[16 * HOUR, 1, 2, 0.5, 1.5, 3]]))
        with pytest.raises(KindMismatchError, match="1970-01-01T16:00"):
            okx.fetch(query(BTC, "1d", 0, 3 * DAY))

    def test_the_newest_bars_in_place_of_older_ones_do_not_count_as_an_empty_answer(self) -> None:
        okx, _ = made("okx", answer([[h * HOUR, 1, 2, 0.5, 1.5, 3] for h in (90, 91)]))
        with pytest.raises(CapabilityError, match="from 1970-01-04T18:00"):
            okx.fetch(query(BTC, "1h", 0, 5 * HOUR))

    @pytest.mark.parametrize(
        "names, kind",
        [
            ("BadSymbol BadRequest ExchangeError", SymbolNotFoundError),
            ("DDoSProtection RateLimitExceeded NetworkError", RateLimitedError),
            ("RequestTimeout NetworkError", ProviderTimeoutError),
            ("ExchangeNotAvailable NetworkError OperationFailed", UnavailableError),
            ("OnMaintenance ExchangeNotAvailable NetworkError", UnavailableError),
            ("PermissionDenied AuthenticationError ExchangeError", EntitlementError),
            ("NullResponse BadResponse ExchangeError", ResponseFormatError),
            ("BadResponse ExchangeError", ResponseFormatError),
            ("SomethingNew", CapabilityError),
        ],
    )
    def test_errors_of_ccxt_are_mapped_by_their_nearest_base_class(
        self, names: str, kind: type[DataError]
    ) -> None:
        okx, _ = made("okx")
        found = okx.classify(HttpResponse(200, {ERROR_HEADER: names}))
        assert type(found) is kind
        assert names.split()[0] in str(found)

    def test_retry_after_of_an_exchange_is_obeyed(self) -> None:
        okx, _ = made("okx")
        found = okx.classify(
            HttpResponse(429, {ERROR_HEADER: "DDoSProtection", "retry-after": "7"})
        )
        assert isinstance(found, RateLimitedError)
        assert found.retry_after == 7


Row = Callable[[list[Any]], tuple[float, ...]]


def _plain(scale: int) -> Row:
    return lambda r: (int(r[0]) * scale, *map(float, r[1:6]))


# Exchange, recording, pair, timeframe, the word in the path, a listing (made up, but Kraken's), where
# the rows lie, and how one is read by hand.
RECORDED = [
    (
        "kraken", "kraken/ohlc-XXBTZUSD-1m-2023", DOLLARS, "5m", "OHLC",
        {"error": [], "result": {"XXBTZUSD": {"altname": "XBTUSD", "wsname": "XBT/USD",
         "base": "XXBT", "quote": "ZUSD", "status": "online"}}},
        lambda b: b["result"]["XXBTZUSD"], lambda r: (r[0] * 1000, *map(float, (*r[1:5], r[6]))),
    ),
    (
        "kucoin", "kucoin/candles-spot-BTC-USDT-1day-2021-09", BTC, "1d", "candles",
        {"code": "200000", "data": [{"symbol": "BTC-USDT", "baseCurrency": "BTC",
         "quoteCurrency": "USDT", "enableTrading": True}]},
        lambda b: b["data"],
        lambda r: (int(r[0]) * 1000, *map(float, (r[1], r[3], r[4], r[2], r[5]))),
    ),
    (
        "okx", "okx/candles-1m", BTC, "1m", "candles",
        {"code": "0", "data": [{"instType": "SPOT", "instId": "BTC-USDT", "baseCcy": "BTC",
         "quoteCcy": "USDT", "state": "live"}]},
        lambda b: b["data"], _plain(1),
    ),
    (
        "coinbaseexchange", "coinbase/candles-BTC-USD-1m-2018", DOLLARS, "1m", "candles",
        [{"id": "BTC-USD", "base_currency": "BTC", "quote_currency": "USD", "status": "online"}],
        lambda b: b, lambda r: (r[0] * 1000, *map(float, (r[3], r[2], r[1], r[4], r[5]))),
    ),
    (
        "bybit", "bybit/kline-linear-BTCUSDT-1m-2023-06", BTC, "1m", "kline",
        {"retCode": 0, "result": {"category": "spot", "list": [{"symbol": "BTCUSDT",
         "baseCoin": "BTC", "quoteCoin": "USDT", "status": "Trading"}]}},
        lambda b: b["result"]["list"], _plain(1),
    ),
]  # fmt: skip


@needs_ccxt
@needs_reference
@pytest.mark.parametrize(
    "exchange, file, who, label, word, listing, rows, by_hand",
    RECORDED,
    ids=[r[0] for r in RECORDED],
)
def test_recorded_answers_of_exchanges_are_read_as_bars(
    exchange: str, file: str, who: Instrument, label: str, word: str, listing: Any,
    rows: Any, by_hand: Row,
) -> None:  # fmt: skip
    reported, recording = recorded(*file.split("/"))
    body = reported["body"]
    expected = sorted(by_hand(row) for row in rows(body))

    class Exchange:
        def __init__(self) -> None:
            self.asked: list[HttpRequest] = []

        def send(self, request: HttpRequest) -> HttpResponse:
            self.asked.append(request)
            return recording if word in request.url else answer(listing)

    wire = Exchange()
    carrier = CcxtCarrier(exchange, wire)
    cls = CCXTDataDownloader.member(f"ccxt:{exchange}")
    vendor = cls(carrier=carrier, sender=sender_over(carrier))
    start, end = int(expected[0][0]), int(expected[-1][0]) + 10 * DAY
    asked = FetchQuery(who, Timeframe.parse(label), Span(start, end), end)
    # One page: what it is aligned to is not this recording's to prove.
    response = vendor.send(vendor.bars_request(asked, None))
    found = [tuple(row) for row in response.json()]
    assert found == expected
    assert response.requests == len(wire.asked) >= 2


@needs_ccxt
@pytest.mark.parametrize(
    "exchange, volume",
    [("kraken", "base"), ("binanceusdm", "base"), ("kucoinfutures", ""), ("krakenfutures", "")],
)
def test_the_volume_of_futures_is_not_declared_to_count_coins_unless_known(
    exchange: str, volume: str
) -> None:
    kinds = CCXTDataDownloader.member(f"ccxt:{exchange}").capabilities.kinds
    assert kinds["crypto"] == Kind("24h", "clock", exchange, volume=volume)


@needs_ccxt
@needs_reference
@pytest.mark.parametrize("case", [RECORDED[0], RECORDED[4]], ids=["kraken", "bybit"])
def test_bars_of_another_pair_are_refused(case: tuple[Any, ...]) -> None:
    """Kraken names the pair as a key, Bybit as a value; ccxt passes over both."""
    exchange, file, who, label, word, listing, *_ = case
    _, recording = recorded(*file.split("/"))
    ours, other = ("XXBTZUSD", "XETHZUSD") if exchange == "kraken" else ("BTCUSDT", "ETHUSDT")
    listed = json.dumps(listing)
    if exchange == "kraken":
        pairs = listing["result"]
        eth = {**pairs[ours], "altname": "ETHUSD", "wsname": "ETH/USD", "base": "XETH"}
        listed = json.dumps({**listing, "result": {**pairs, other: eth}})
    else:
        (pair,) = listing["result"]["list"]
        eth = {**pair, "symbol": other, "baseCoin": "ETH"}
        listed = json.dumps({**listing, "result": {**listing["result"], "list": [pair, eth]}})
    body = recording.body.replace(ours.encode(), other.encode())

    class Exchange:
        def send(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse(200, {}, body if word in request.url else listed.encode())

    carrier = CcxtCarrier(exchange, Exchange())
    vendor = CCXTDataDownloader.member(f"ccxt:{exchange}")(
        carrier=carrier, sender=sender_over(carrier)
    )
    with pytest.raises(ResponseFormatError, match=f"answered for '{other}'"):
        vendor.send(vendor.bars_request(query(who, label, 0, DAY), None))


@needs_ccxt
@needs_reference
@pytest.mark.parametrize("other", ["ETHUSDT", "BTCUSD", "XYZUSDT", "btc-usdc"])
def test_bars_of_a_pair_that_is_not_even_listed_are_refused(other: str) -> None:
    exchange, file, who, label, word, listing, *_ = RECORDED[4]
    reported, _ = recorded(*file.split("/"))
    named = {**reported["body"], "result": {**reported["body"]["result"], "symbol": other}}

    class Exchange:
        def send(self, request: HttpRequest) -> HttpResponse:
            return answer(named if word in request.url else listing)

    carrier = CcxtCarrier(exchange, Exchange())
    vendor = CCXTDataDownloader.member(f"ccxt:{exchange}")(
        carrier=carrier, sender=sender_over(carrier)
    )
    with pytest.raises(ResponseFormatError, match=f"answered for '{other}'"):
        vendor.send(vendor.bars_request(query(who, label, 0, DAY), None))


@needs_ccxt
@pytest.mark.parametrize("case", RECORDED, ids=[r[0] for r in RECORDED])
def test_only_an_empty_list_of_bars_counts_as_an_empty_answer(
    case: tuple[Any, ...],
) -> None:
    exchange, _, who, label, word, listing, *_ = case
    nothing, foreign = {
        "kraken": (
            {"error": [], "result": {"XXBTZUSD": [], "last": 1}},
            [{"error": []}, {"error": [], "result": {}}, {"error": [], "result": None}],
        ),
        "kucoin": (
            {"code": "200000", "data": []},
            [{"code": "200000", "data": None}, {"code": "200000"}, {"code": "200000", "data": ""}],
        ),
        "okx": (
            {"code": "0", "msg": "", "data": []},
            [{"code": "0", "msg": "", "data": None}, {"code": "0", "msg": "", "data": {}}],
        ),
        "coinbaseexchange": ([], [None, {}, ""]),
        "bybit": (
            {"retCode": 0, "result": {"category": "spot", "symbol": "BTCUSDT", "list": []}},
            [{"retCode": 0, "result": {"list": None}}, {"retCode": 0, "result": None}],
        ),
    }[exchange]

    for body in (nothing, *foreign):

        class Exchange:
            def send(self, request: HttpRequest, said: Any = body) -> HttpResponse:
                return answer(said if word in request.url else listing)

        carrier = CcxtCarrier(exchange, Exchange())
        vendor = CCXTDataDownloader.member(f"ccxt:{exchange}")(
            carrier=carrier, sender=sender_over(carrier)
        )
        with pytest.raises(NoDataError if body is nothing else ResponseFormatError):
            vendor.fetch(query(who, label, 0, DAY))

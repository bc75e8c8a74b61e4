from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.market.bars import Bar
from src.data.core.model.request.capabilities import Limits
from src.data.core.model.request.http import HttpResponse
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, parse_iso
from src.data.core.net.http.retry import RetryPolicy
from src.data.core.net.http.sender import Sender
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import State
from src.data.core.vendors.binance.bars import BinanceDataDownloader
from src.data.errors import (
    AuthenticationError,
    CapabilityError,
    NoDataError,
    RateLimitedError,
    RegionError,
    ResponseFormatError,
    SymbolNotFoundError,
    UnavailableError,
)
from tests.core.net.scripted import ScriptedTransport, answer, sender_over
from tests.core.vendors.acme import query, recorded
from tests.reference import needs_reference

KLINES = {
    # recording: rows, first stamp, step
    "klines-cm-BTCUSD_PERP-1d-2023-01-week": (6, "2023-01-01", DAY_MS),
    "klines-spot-BTCUSDT-1d-2019": (300, "2019-01-01", DAY_MS),
    "klines-spot-BTCUSDT-1h-page1-of-2-limit1000": (300, "2020-05-30T01:00:00", HOUR_MS),
    "klines-spot-BTCUSDT-1h-page2-of-2-limit1000": (300, "2020-06-11T13:00:00", HOUR_MS),
    "klines-spot-BTCUSDT-1m-start-end": (60, "2020-05-06T04:42:00", MINUTE_MS),
    "klines-spot-BTCUSDT-5m-limit24": (24, "2020-04-15T21:50:00", 5 * MINUTE_MS),
    "klines-spot-ETHBTC-1d-2023-01-week": (6, "2023-01-01", DAY_MS),
    "klines-um-BTCUSDT-1d-2019-before-listing": (116, "2019-09-08", DAY_MS),
    "klines-um-BTCUSDT-1d-limit5-last-bar-forming": (5, "2020-10-14", DAY_MS),
    "klines-um-LTCUSDT-5m-seconds-instead-of-ms": (260, "2020-10-14T10:05:00", 5 * MINUTE_MS),
}
ERRORS: dict[str, Any] = {
    "error-418-1003-ip-banned": RateLimitedError,
    "error-429-1003-request-weight": RateLimitedError,
    "error-451-restricted-location": RegionError,
    "error-cm-4088-interval-over-200-days": CapabilityError,
    "error-um-1121-invalid-symbol": SymbolNotFoundError,
}


def binance(*answers: Any) -> tuple[BinanceDataDownloader, ScriptedTransport]:
    transport = ScriptedTransport(*answers)
    return BinanceDataDownloader(sender=sender_over(transport)), transport


def row(stamp: int) -> list[Any]:
    return [stamp, "1.5", "2", "1", "1.25", "10", stamp + 1, "9", 3, "1", "1", "0"]


def test_both_ends_are_sent_in_milliseconds_and_inclusive() -> None:
    vendor, transport = binance(answer([row(0)]))
    vendor.fetch(query("1h", "2024-01-01T00:00:00Z", "2024-01-01T05:00:00Z"))
    asked = transport.asked[0]
    assert asked.url == "https://data-api.binance.vision/api/v3/klines"
    assert asked.params == {
        "symbol": "BTCUSDT", "interval": "1h", "limit": 1000,
        "startTime": 1704067200000, "endTime": 1704085199999,
    }  # fmt: skip
    assert asked.cost == 2


@pytest.mark.parametrize("label", "1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M".split())
def test_every_timeframe_is_sent_in_its_own_case(label: str) -> None:
    vendor, transport = binance(answer([row(0)]))
    vendor.fetch(query(label, 0, DAY_MS))
    assert transport.asked[0].params["interval"] == label


def test_full_pages_are_followed_without_requesting_a_bar_twice() -> None:
    full = [row(i * MINUTE_MS) for i in range(1000)]
    vendor, transport = binance(answer(full), answer([row(1000 * MINUTE_MS)]))
    got = vendor.fetch(query("1m", 0, 2000 * MINUTE_MS))
    assert transport.asked[1].params["startTime"] == 1000 * MINUTE_MS
    assert got.table.stamps.tolist() == [i * MINUTE_MS for i in range(1001)]


def test_the_last_full_page_of_a_span_needs_no_further_request() -> None:
    vendor, transport = binance(answer([row(i * MINUTE_MS) for i in range(1000)]))
    vendor.fetch(query("1m", 0, 999 * MINUTE_MS + 1))
    assert len(transport.asked) == 1


def test_times_in_microseconds_are_accepted() -> None:
    vendor, _ = binance()
    bars = vendor.parse_bars(answer([row(1735689600000000), row(1735689660000)]), query("1m", 0, 1))
    assert [b.stamp_ms for b in bars.bars] == [1735689600000, 1735689660000]


def test_an_empty_list_of_klines_raises_no_data() -> None:
    vendor, _ = binance(answer([]))
    with pytest.raises(NoDataError):
        vendor.fetch(query("1d", 0, DAY_MS))


@pytest.mark.parametrize("body", [{"a": 1}, [[1]], [["x"] * 12], [[1, "1", "2", "1", None, "1"]]])
def test_a_response_in_another_format_is_unreadable(body: Any) -> None:
    vendor, _ = binance(answer(body))
    with pytest.raises(ResponseFormatError):
        vendor.fetch(query("1d", 0, DAY_MS))


@pytest.mark.parametrize(
    "status, body, kind",
    [
        (400, {"code": -1121, "msg": "Invalid symbol."}, SymbolNotFoundError),
        (400, {"code": -1120, "msg": "Invalid interval."}, CapabilityError),
        (400, {"code": -1102, "msg": "Mandatory parameter"}, CapabilityError),
        (400, {"code": -1007, "msg": "Timeout"}, UnavailableError),
        (401, {"code": -2015, "msg": "Invalid API-key"}, AuthenticationError),
        (403, b"<html>WAF</html>", RateLimitedError),
        (429, {"code": -1003}, RateLimitedError),
        (418, b"", RateLimitedError),
        (451, {"code": 0}, RegionError),
        (500, b"<html>", UnavailableError),
        (400, {"code": "-1121"}, CapabilityError),
        (400, [1], CapabilityError),
    ],
)
def test_error_responses_become_typed_errors(status: int, body: Any, kind: Any) -> None:
    vendor, _ = binance()
    assert type(vendor.classify(answer(body, status))) is kind


def test_the_length_of_a_ban_is_read_from_the_response() -> None:
    vendor, _ = binance()
    banned = {"code": -1003, "msg": "Way too many requests; IP banned until 1529256050872."}
    by_header = vendor.classify(answer(banned, 418, retry_after="120"))
    by_text = vendor.classify(answer(banned, 418, date="Sun, 17 Jun 2018 17:20:00 GMT"))
    unknown = vendor.classify(answer(banned, 418))
    waits = [
        (e.retry_after, e.until_ms)
        for e in (by_header, by_text, unknown)
        if isinstance(e, RateLimitedError)
    ]
    assert waits == [(120, 1529256050872), (None, 1529256050872), (None, 1529256050872)]


@pytest.mark.parametrize(
    "ahead_ms, headers, wait_s",
    [
        (90_500, {}, 90.5),  # by our clock, where the vendor sends no date
        (90_500, {"date": "Sun, 17 Jun 2018 17:20:00 GMT"}, 50.872),
        (90_500, {"retry_after": "120"}, 120.0),
        (-5_000, {}, 0.0),
    ],
)
def test_no_request_is_sent_until_a_ban_ends(
    ahead_ms: int, headers: dict[str, str], wait_s: float
) -> None:
    until = 1529256050872
    clock = ManualClock(until - ahead_ms)
    said = answer({"code": -1003, "msg": f"IP banned until {until}."}, 418, **headers)
    limiter = Limiter("binance", Limits(), State(None, clock))
    sender = Sender(ScriptedTransport(said), limiter, clock, RetryPolicy(attempts=1))
    vendor = BinanceDataDownloader(sender=sender)
    with pytest.raises(RateLimitedError) as caught:
        vendor.fetch(query("1h", 0, 3_600_000))
    assert caught.value.retry_after == pytest.approx(wait_s, abs=0.01)


def test_the_declared_kind_is_a_dense_24_hour_market_in_usdt() -> None:
    vendor, _ = binance()
    kind = vendor.capabilities.kind(Instrument("BTCUSDT", "crypto", quote="USDT"))
    assert (kind.session, kind.anchor, kind.venue) == ("24h", "clock", "binance")
    assert (kind.unit, kind.volume) == ("USDT", "base")
    assert vendor.is_dense(query("1m", 0, 1).timeframe)


def test_keys_passed_by_older_callers_are_not_sent() -> None:
    transport = ScriptedTransport(answer([row(0)]))
    vendor = BinanceDataDownloader("CANARY", "CANARY", sender=sender_over(transport))
    vendor.get_ohlcv("BTCUSDT", "1d", "1970-01-01", "1970-01-02")
    assert "CANARY" not in repr(vars(vendor)) + repr(transport.asked[0].__dict__)


@needs_reference
@pytest.mark.parametrize("name", KLINES)
def test_recorded_bars_are_parsed_completely_and_in_order(name: str) -> None:
    recording, response = recorded("binance", name)
    count, first, step = KLINES[name]
    page = BinanceDataDownloader(sender=sender_over(None)).parse_bars(response, query("1m", 0, 1))
    bars = page.bars
    assert len(bars) == len(recording["body"]) == count
    assert bars[0].stamp_ms == parse_iso(first)
    assert {b.stamp_ms - a.stamp_ms for a, b in pairwise(bars)} == {step}
    for bar, raw in zip(bars, recording["body"], strict=True):
        assert bar[1:6] == tuple(float(text) for text in raw[1:6])
        assert bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high


@needs_reference
def test_a_recorded_bar_equals_the_values_written_by_hand() -> None:
    _, response = recorded("binance", "klines-spot-BTCUSDT-1d-2019")
    vendor, _ = binance()
    bar = vendor.parse_bars(response, query("1d", 0, 1)).bars[0]
    assert bar[:6] == Bar(1546300800000, 3701.23, 3810.16, 3642.0, 3797.14, 23741.687033)[:6]


@needs_reference
@pytest.mark.parametrize("name", ERRORS)
def test_a_recorded_error_becomes_its_typed_error(name: str) -> None:
    vendor, _ = binance()
    _, response = recorded("binance", name)
    error = vendor.classify(response)
    assert type(error) is ERRORS[name]


@needs_reference
def test_two_recorded_pages_join_without_overlap() -> None:
    pages = []
    for name in ("page1", "page2"):
        recording, _ = recorded("binance", f"klines-spot-BTCUSDT-1h-{name}-of-2-limit1000")
        pages.append(recording["body"])
    full = [*([pages[0][0]] * 700), *pages[0]]  # the recording kept the last 300 of 1000 rows
    vendor, transport = binance(
        *(HttpResponse(200, {}, json.dumps(b).encode()) for b in (full, pages[1]))
    )
    got = vendor.fetch(query("1h", 1588280400000, 1593572400000))
    stamps = got.table.stamps[700:]
    assert transport.asked[1].params["startTime"] == pages[0][-1][0] + HOUR_MS
    assert set((stamps[1:] - stamps[:-1]).tolist()) == {HOUR_MS}


@pytest.mark.parametrize("start, end", [(-10, 5_000), (-9_000, -10)])
def test_no_time_before_1970_is_sent(start: int, end: int) -> None:
    vendor, _ = binance()
    params = vendor.bars_request(query("1h", start, end), None).params
    assert (params["startTime"], params["endTime"]) == (0, max(0, end - 1))


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row[:11], lambda row: [*row, "0"], lambda row: row[:6],
        lambda row: [row[0], True, *row[2:]], lambda row: [True, *row[1:]],
    ],
)  # fmt: skip
def test_a_row_in_another_format_is_not_read_as_a_bar(change: Any) -> None:
    row = [1704067200000, "1", "2", "0.5", "1.5", "10", 1704153599999, "15", 3, "4", "6", "0"]
    vendor, _ = binance(answer([row, change(row)]))
    with pytest.raises(ResponseFormatError):
        vendor.fetch(query("1d", "2024-01-01", "2024-01-03"))

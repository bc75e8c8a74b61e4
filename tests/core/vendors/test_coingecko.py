from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS
from src.data.core.vendors.coingecko.bars import (
    COINS,
    CURRENCIES,
    CoinGeckoDataDownloader,
    coin_id,
    currency,
)
from src.data.errors import (
    AuthenticationError,
    CapabilityError,
    EntitlementError,
    NoDataError,
    RateLimitedError,
    ResponseFormatError,
    SymbolNotFoundError,
    UnavailableError,
)
from tests.core.cache.counts import examples
from tests.core.net.scripted import NOW_MS, ScriptedTransport, answer, sender_over
from tests.core.vendors.acme import query, recorded
from tests.reference import needs_reference

BTC = Instrument("BTCUSDT", "crypto", base="BTC", quote="USDT")
STEPS = {"30m": 30 * MINUTE_MS, "1h": HOUR_MS, "4h": 4 * HOUR_MS, "1d": DAY_MS}
# Other addresses of the vendor than bars, or single prices instead of them.
ELSEWHERE = {
    "coin-history-ethereum-2024-01-01", "coins-list-excerpt", "coins-markets-usd",
    "market_chart-bitcoin-usd-1day-auto-5min", "market_chart-range-ethereum-usd",
    "simple-price-bitcoin-usd",
}  # fmt: skip
ERRORS: dict[str, Any] = {
    "error-404-coin-not-found": SymbolNotFoundError,
    "error-429-rate-limit": RateLimitedError,
}


def gecko(*answers: Any, **keys: str) -> tuple[CoinGeckoDataDownloader, ScriptedTransport]:
    transport = ScriptedTransport(*answers)
    named = {f"COINGECKO_{kind.upper()}_API_KEY": key for kind, key in keys.items()}
    return CoinGeckoDataDownloader(sender=sender_over(transport), credentials=named), transport


def rows(first_close: int, step: int, count: int) -> list[list[float]]:
    return [[first_close + n * step, 10, 12, 9, 11] for n in range(count)]


def test_four_hour_bars_are_requested_with_the_shortest_sufficient_range() -> None:
    four = 4 * HOUR_MS
    vendor, transport = gecko(*[answer(rows(NOW_MS - 40 * four, four, 41))] * 3)
    for days, first in ((7, 7 * DAY_MS + four), (14, 7 * DAY_MS + four + 1), (30, 30 * DAY_MS)):
        vendor.fetch(query("4h", NOW_MS - first, NOW_MS, BTC))
        asked = transport.asked[-1]
        assert asked.url == "https://api.coingecko.com/api/v3/coins/bitcoin/ohlc"
        assert asked.params == {"vs_currency": "usd", "days": days}
        assert dict(asked.secret_headers) == {}


def test_a_bar_is_stamped_with_its_open_and_has_no_volume() -> None:
    start = NOW_MS - DAY_MS
    step = STEPS["30m"]
    vendor, _ = gecko(answer(rows(start, step, 49)))
    got = vendor.fetch(query("30m", start, NOW_MS, BTC))
    assert got.table.stamps.tolist() == list(range(start, NOW_MS, step))
    assert (got.table.volume != got.table.volume).all()
    assert (got.kind.venue, got.kind.unit, got.kind.volume) == ("aggregate", "USD", "none")


def test_only_the_forming_bar_is_moved_onto_the_grid() -> None:
    step = STEPS["30m"]
    vendor, _ = gecko()
    running = [*rows(NOW_MS, step, 2), [NOW_MS + step + 7, 1, 1, 1, 1]]
    page = vendor.parse_bars(answer(running), query("30m", NOW_MS - step, NOW_MS + 2 * step, BTC))
    assert [b.stamp_ms for b in page.bars] == [NOW_MS - step, NOW_MS, NOW_MS + step]
    backwards = vendor.parse_bars(answer(running[::-1]), query("30m", 0, NOW_MS + 2 * step, BTC))
    assert list(backwards.bars) == list(page.bars)[::-1]
    twice = [*running, [NOW_MS + step + 9, 1, 1, 1, 1]]
    beside = vendor.parse_bars(answer(twice), query("30m", 0, NOW_MS + 2 * step, BTC)).bars
    assert [b.stamp_ms - NOW_MS for b in beside] == [-step, 0, 7, step], "as it was sent"
    odd = [[stamp + 7, *prices] for stamp, *prices in rows(NOW_MS - 3 * step, step, 3)]
    with pytest.raises(ResponseFormatError, match="off the grid"):
        vendor.parse_bars(answer(odd), query("30m", 0, NOW_MS, BTC))


@pytest.mark.parametrize("sent", [4 * HOUR_MS, 4 * DAY_MS])
def test_bars_of_another_timeframe_are_never_returned(sent: int) -> None:
    vendor, _ = gecko(answer(rows(NOW_MS - 5 * sent, sent, 5)))
    with pytest.raises(ResponseFormatError, match="instead of 30m"):
        vendor.fetch(query("30m", NOW_MS - DAY_MS, NOW_MS, BTC))


def test_a_range_beyond_its_history_is_refused_without_a_request() -> None:
    vendor, transport = gecko()
    for label, days in (("30m", 1), ("4h", 30)):
        with pytest.raises(CapabilityError, match=f"only for the last {days} days"):
            vendor.fetch(query(label, NOW_MS - (days + 1) * DAY_MS, NOW_MS, BTC))
    assert not transport.asked


@pytest.mark.parametrize("label", ["1m", "1h", "1d", "4d"])
def test_without_a_paid_plan_only_free_data_are_declared(label: str) -> None:
    vendor, transport = gecko(demo="d")
    assert vendor.get_supported_intervals() == ["30m", "4h"]
    with pytest.raises(CapabilityError):
        vendor.fetch(query(label, NOW_MS - HOUR_MS, NOW_MS, BTC))
    assert not transport.asked


@pytest.mark.parametrize("label, interval", [("1h", "hourly"), ("1d", "daily")])
def test_a_paid_plan_is_queried_by_closes_at_its_own_address(label: str, interval: str) -> None:
    step = STEPS[label]
    start = NOW_MS - 5 * step
    vendor, transport = gecko(answer(rows(start + step, step, 2)), pro="p4id")
    got = vendor.fetch(query(label, start, start + 2 * step, BTC))
    asked = transport.asked[0]
    assert asked.url == "https://pro-api.coingecko.com/api/v3/coins/bitcoin/ohlc/range"
    assert asked.params == {
        "vs_currency": "usd", "interval": interval,
        "from": (start + step) // 1000, "to": (start + 3 * step - 1) // 1000,
    }  # fmt: skip
    assert dict(asked.secret_headers) == {"x-cg-pro-api-key": "p4id"}
    assert got.table.stamps.tolist() == [start, start + step]


def test_the_end_sent_is_limited_to_the_current_time() -> None:
    vendor, transport = gecko(answer(rows(NOW_MS, HOUR_MS, 1)), pro="p")
    vendor.fetch(query("1h", NOW_MS - HOUR_MS, NOW_MS + HOUR_MS, BTC, now_ms=NOW_MS + 120_000))
    assert transport.asked[0].params["to"] == NOW_MS // 1000 + 60
    with pytest.raises(NoDataError, match="has closed"):
        vendor.fetch(query("1h", NOW_MS, NOW_MS + HOUR_MS, BTC))


def test_no_text_form_shows_a_key() -> None:
    vendor, transport = gecko(answer(rows(NOW_MS, 4 * HOUR_MS, 1)), demo="CANARY")
    vendor.fetch(query("4h", NOW_MS - 4 * HOUR_MS, NOW_MS, BTC))
    asked = transport.asked[0]
    assert dict(asked.secret_headers) == {"x-cg-demo-api-key": "CANARY"}
    assert "CANARY" not in repr(asked) + repr(vendor) + repr(vars(vendor))


@settings(derandomize=True, max_examples=examples(20), deadline=None)
@given(st.integers(1, 200), st.integers(0, 2000))
def test_pages_of_days_join_without_overlap_or_hole(count: int, before: int) -> None:
    start = NOW_MS - (before + count) * DAY_MS

    def serve(request: HttpRequest) -> HttpResponse:
        first, last = int(request.params["from"]) * 1000, int(request.params["to"]) * 1000
        assert last - first <= 180 * DAY_MS
        closes = range(-(-first // DAY_MS) * DAY_MS, last + 1, DAY_MS)
        return answer([[at, 1, 1, 1, 1] for at in closes])

    vendor, _ = gecko(*[serve] * 2, pro="p")
    got = vendor.fetch(query("1d", start, start + count * DAY_MS, BTC, now_ms=NOW_MS + HOUR_MS))
    assert got.table.stamps.tolist() == [start + n * DAY_MS for n in range(count)]


@pytest.mark.parametrize(
    "status, body, kind",
    [
        (404, {"error": "coin not found"}, SymbolNotFoundError),
        (429, {"status": {"error_code": 429}}, RateLimitedError),
        (200, {"status": {"error_code": 429}}, RateLimitedError),
        (401, {"error": {"status": {"error_code": 10012}}}, EntitlementError),
        (401, {"error": {"status": {"error_code": 10005}}}, EntitlementError),
        (401, {"status": {"error_code": 10002}}, AuthenticationError),
        (400, {"error": {"status": {"error_code": 10014}}}, CapabilityError),
        (401, {"error": "x"}, AuthenticationError),
        (403, b"<html>", EntitlementError),
        (503, b"{broken", UnavailableError),
    ],
)
def test_error_responses_become_typed_errors(status: int, body: Any, kind: Any) -> None:
    assert type(gecko()[0].classify(answer(body, status))) is kind


@pytest.mark.parametrize("body", [{"error": "x"}, [[1]], [[NOW_MS, "x", 1, 1, 1]], ["a"], [None]])
def test_a_response_in_another_format_is_unreadable(body: Any) -> None:
    vendor, _ = gecko(answer(body))
    with pytest.raises(ResponseFormatError):
        vendor.fetch(query("4h", NOW_MS - DAY_MS, NOW_MS, BTC))


def test_symbols_become_coin_ids_and_quote_currencies() -> None:
    assert coin_id(Instrument("X", "crypto", spellings={"coingecko": "pepe-2"})) == "pepe-2"
    assert coin_id(Instrument("Ethereum", "crypto")) == "ethereum"
    with pytest.raises(CapabilityError, match="spellings") as caught:
        coin_id(Instrument("ABCUSDT", "crypto", base="ABC", quote="USDT"))
    assert caught.value.symbol == "ABCUSDT"
    assert len(set(COINS.values())) == len(COINS)
    for quote, asked in (("USDT", "USD"), ("EUR", "EUR"), ("BTC", "BTC"), (None, "USD")):
        assert currency(Instrument("X", "crypto", base="BTC", quote=quote)) == asked
    with pytest.raises(CapabilityError, match="no prices in TRX"):
        currency(Instrument("X", "crypto", base="BTC", quote="TRX"))


@needs_reference
def test_recorded_bars_are_parsed_completely_and_in_order() -> None:
    recording, response = recorded("coingecko", "ohlc-4h")
    wanted = query("4h", "2024-03-01T00:00:00Z", "2024-04-01T00:00:00Z", BTC)
    bars = gecko()[0].parse_bars(response, wanted).bars
    assert len(bars) == len(recording["body"]) == 3
    for bar, raw in zip(bars, recording["body"], strict=True):
        assert bar[:5] == (raw[0] - 4 * HOUR_MS, *raw[1:5])
    assert {b.stamp_ms - a.stamp_ms for a, b in pairwise(bars)} == {4 * HOUR_MS}


@needs_reference
@pytest.mark.parametrize("name", ERRORS)
def test_a_recorded_error_becomes_its_typed_error(name: str) -> None:
    error = gecko()[0].classify(recorded("coingecko", name)[1])
    assert type(error) is ERRORS[name]
    assert not isinstance(error, RateLimitedError) or error.retry_after == 7


@needs_reference
def test_currencies_and_ids_equal_the_recorded_ones() -> None:
    quoted = recorded("coingecko", "coin-history-ethereum-2024-01-01")[0]["body"]["market_data"]
    assert {c.lower() for c in CURRENCIES} <= set(quoted["current_price"])
    listed = {
        c["symbol"].upper(): c["id"] for c in recorded("coingecko", "coins-list-excerpt")[0]["body"]
    }
    shared = set(listed) & set(COINS)
    assert {s: listed[s] for s in shared} == {s: COINS[s] for s in shared}
    assert shared == {"BTC", "LTC", "DOGE"}


@needs_reference
@pytest.mark.parametrize("name", sorted(ELSEWHERE))
def test_recorded_answers_of_other_endpoints_are_refused_as_bars(name: str) -> None:
    vendor, _ = gecko(recorded("coingecko", name)[1])
    with pytest.raises(ResponseFormatError):
        vendor.fetch(query("4h", NOW_MS - DAY_MS, NOW_MS, BTC))

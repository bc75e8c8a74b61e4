from __future__ import annotations

import math
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.kind import Basis
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.model.time.instant import DAY_MS, MINUTE_MS, iso, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.vendors.finnhub.bars import FinnhubDataDownloader
from src.data.errors import (
    AuthenticationError,
    CapabilityError,
    EntitlementError,
    NoDataError,
    RateLimitedError,
    ResponseFormatError,
)
from tests.core.cache.counts import examples
from tests.core.net.scripted import NOW_MS, answer
from tests.core.vendors.acme import query, recorded
from tests.core.vendors.keyed import (
    AAPL,
    assert_fails_clearly,
    assert_keeps_its_key,
    checked,
    keyed,
    line_of,
)
from tests.reference import needs_reference

BASE = "https://finnhub.io/api/v1/"
BRK = Instrument("BRK-B", "stock", "XNYS", "America/New_York", spellings={"finnhub": "BRK.B"})
BTC = Instrument("BTCUSDT", "crypto", quote="USDT", spellings={"finnhub": "BINANCE:BTCUSDT"})

ERRORS: dict[str, Any] = {
    "error-403-candle-AAPL-premium": EntitlementError,
    "error-429-limit": RateLimitedError,
}


def finnhub(*answers: Any) -> Any:
    return keyed(FinnhubDataDownloader, *answers)


def columns(rows: dict[int, float]) -> dict[str, Any]:
    if not rows:
        return {"s": "no_data"}
    prices = list(rows.values())
    return {
        "t": [at // 1000 for at in rows], "o": prices, "h": [p + 1 for p in prices],
        "l": [p - 1 for p in prices], "c": prices, "v": [7] * len(rows), "s": "ok",
    }  # fmt: skip


@pytest.mark.parametrize(
    "who, timeframe, asked",
    [
        (BRK, "1d", "stock/candle?symbol=BRK.B&resolution=D"),
        (BRK, "1m", "stock/candle?symbol=BRK.B&resolution=1"),
        (BTC, "1m", "crypto/candle?symbol=BINANCE:BTCUSDT&resolution=1"),
        (BTC, "5m", "crypto/candle?symbol=BINANCE:BTCUSDT&resolution=5"),
        (BTC, "15m", "crypto/candle?symbol=BINANCE:BTCUSDT&resolution=15"),
        (BTC, "30m", "crypto/candle?symbol=BINANCE:BTCUSDT&resolution=30"),
        (BTC, "1h", "crypto/candle?symbol=BINANCE:BTCUSDT&resolution=60"),
        (BTC, "1d", "crypto/candle?symbol=BINANCE:BTCUSDT&resolution=D"),
    ],
)
def test_a_bars_request_has_the_documented_url(who: Instrument, timeframe: str, asked: str) -> None:
    request = finnhub()[0].bars_request(query(timeframe, "2024-01-02", "2024-02-01", who), None)
    assert line_of(request) == f"{BASE}{asked}&from=1704153600&to=1706745599"


def test_the_key_is_sent_and_never_shown() -> None:
    vendor, _ = finnhub()
    assert_keeps_its_key(vendor, query("1d", 0, DAY_MS, AAPL), "FINNHUB_API_KEY")
    assert not vendor.bars_request(query("1d", 0, DAY_MS, AAPL), None).secret_params


def test_hours_of_shares_are_refused_without_a_request() -> None:
    vendor, transport = finnhub()
    with pytest.raises(CapabilityError, match="serves the timeframes 1m 5m 15m 30m 1d, not 1h"):
        vendor.fetch(query("1h", 0, DAY_MS, BRK))
    assert transport.asked == []


@pytest.mark.parametrize("timeframe", ["1m", "5m", "15m", "30m"])
def test_minutes_of_shares_are_raw_and_of_extended_hours(timeframe: str) -> None:
    """As recorded by hand in 2021: from 04:00 to 20:00, and as traded before a later split."""
    asked = query(timeframe, "2021-05-03T08:00:00Z", "2021-05-04T00:00:00Z", BRK)
    vendor, _ = finnhub(answer(columns({asked.span.start: 10.0})))
    got = vendor.fetch(asked)
    assert (got.kind.session, got.kind.anchor, got.basis) == ("extended", "clock", Basis("raw"))
    assert not got.dense
    vendor, _ = finnhub(answer(columns({DAY_MS: 10.0})))
    days = vendor.fetch(query("1d", DAY_MS, 2 * DAY_MS, BRK))
    assert (days.kind.session, days.basis, days.dense) == ("regular", Basis("split"), True)


@pytest.mark.parametrize(
    "who, timeframe, at, stamp",
    [
        (BRK, "1d", "2012-01-03T00:00:00Z", "2012-01-03T00:00:00Z"),
        (BRK, "1d", "2012-01-03T14:30:00Z", "2012-01-03T00:00:00Z"),
        (BTC, "1h", "2024-03-10T07:00:00Z", "2024-03-10T07:00:00Z"),
    ],
)
def test_times_of_candles_become_stamps(
    who: Instrument, timeframe: str, at: str, stamp: str
) -> None:
    response = answer(columns({parse_iso(at): 10.0}))
    (bar,) = finnhub()[0].parse_bars(response, query(timeframe, 0, NOW_MS, who)).bars
    assert (iso(bar.stamp_ms), bar[1:6]) == (stamp, (10.0, 11.0, 9.0, 10.0, 7.0))


def test_a_missing_price_is_nan() -> None:
    body = columns({DAY_MS: 10.0}) | {"o": [None]}
    assert math.isnan(
        finnhub()[0].parse_bars(answer(body), query("1d", 0, NOW_MS, BRK)).bars[0].open
    )


@pytest.mark.parametrize(
    "status, body, kind",
    [
        (200, {"error": "API limit reached. Please try again later."}, RateLimitedError),
        (200, b"API limit reached. Remaining Limit: 0", RateLimitedError),
        (200, {"error": "You don't have access to this resource."}, EntitlementError),
        (200, {"error": "Invalid API key"}, AuthenticationError),
        (200, {"error": "Something else"}, ResponseFormatError),
        (401, {"error": "Invalid API key"}, AuthenticationError),
        (403, {"error": "You don't have access to this resource."}, EntitlementError),
        (429, b"API limit reached", RateLimitedError),
    ],
)
def test_error_responses_become_typed_errors(status: int, body: Any, kind: Any) -> None:
    assert type(finnhub()[0].classify(answer(body, status))) is kind


def test_unreadable_answers_raise_a_typed_error() -> None:
    asked = query("1d", "2024-12-02", "2024-12-03", BRK)
    assert_fails_clearly(finnhub()[0], asked, answer(columns({asked.span.start: 5.0})))
    uneven = columns({asked.span.start: 5.0}) | {"c": []}
    for body in (uneven, {"s": "error"}):
        with pytest.raises(ResponseFormatError):
            finnhub(answer(body))[0].fetch(asked)


def test_splits_and_dividends_are_fetched_as_actions() -> None:
    splits = [{"symbol": "BRK.B", "date": "2010-01-21", "fromFactor": 1, "toFactor": 50}]
    paid = [{"symbol": "BRK.B", "date": "2010-11-05", "amount": 0.25, "adjustedAmount": 0.005,
             "payDate": "2010-12-01", "currency": "USD"}]  # fmt: skip
    vendor, transport = finnhub(answer(splits), answer(paid))
    span = Span(parse_iso("2010-01-01"), parse_iso("2011-01-01"))
    split, dividend = vendor.fetch_actions(BRK, span, NOW_MS)
    assert (split.ex_date, split.ratio, split.source) == (date(2010, 1, 21), 50, "finnhub")
    assert (dividend.amount, dividend.as_paid) == (0.25, True)
    assert (dividend.pay_date, dividend.currency) == ("2010-12-01", "USD")
    assert [line_of(r) for r in transport.asked] == [
        f"{BASE}stock/{path}?symbol=BRK.B&from=2010-01-01&to=2010-12-31"
        for path in ("split", "dividend")
    ]


TRUTH = {at: 100.0 + n for n, at in enumerate(
    range(parse_iso("2024-01-02"), parse_iso("2024-03-02"), 175 * MINUTE_MS))}  # fmt: skip


def range_of_truth(request: HttpRequest) -> HttpResponse:
    """Answer a range of seconds, both ends inclusive; of a longer one than allowed only the end."""
    first, last = (int(request.params[name]) for name in ("from", "to"))
    first = max(first, last - 15 * 86_400)
    return answer(columns({at: p for at, p in TRUTH.items() if first <= at // 1000 <= last}))


@settings(max_examples=examples(25), derandomize=True, deadline=None)
@given(st.integers(-1, 60), st.integers(1, 60))
def test_bars_joined_from_windows_are_the_true_ones(day: int, days: int) -> None:
    start, length = min(TRUTH) + day * DAY_MS + days * MINUTE_MS, days * DAY_MS
    expected = {at: p for at, p in TRUTH.items() if start <= at < start + length}
    vendor, _ = finnhub(*[range_of_truth] * 5)
    try:
        table = vendor.fetch(query("5m", start, start + length, BTC)).table
        got = dict(zip(table.stamps.tolist(), table.close.tolist(), strict=True))
    except NoDataError:
        got = {}
    assert got == expected


def test_the_declared_capabilities_are_split_adjusted_prices_and_separate_actions() -> None:
    caps = finnhub()[0].capabilities
    assert (caps.adjustment, caps.actions, caps.tells_actions) == ("split", False, True)
    assert caps.kind(BTC).venue == "binance"


# --- recorded answers --------------------------------------------------------------------------


@needs_reference
def test_recorded_bars_are_parsed_completely_and_in_order() -> None:
    recording, response = recorded("finnhub", "candle-ok-shape-sample")
    asked = query("1d", "2023-11-14", "2023-11-19", AAPL)
    good = checked(finnhub(response)[0].fetch(asked), asked)
    assert (len(good.good), good.bad) == (5, ())
    assert good.good.close.tolist() == recording["body"]["c"]


@needs_reference
def test_a_recorded_empty_answer_raises_no_data() -> None:
    _, response = recorded("finnhub", "candle-no_data")
    with pytest.raises(NoDataError):
        finnhub(response)[0].fetch(query("1d", "2023-11-14", "2023-11-19", AAPL))


@needs_reference
@pytest.mark.parametrize("name", ERRORS)
def test_a_recorded_error_becomes_its_typed_error(name: str) -> None:
    _, response = recorded("finnhub", name)
    assert type(finnhub()[0].classify(response)) is ERRORS[name]

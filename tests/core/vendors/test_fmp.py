from __future__ import annotations

import math
from datetime import UTC, date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.calendars.localtime import local_date
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.model.time.instant import (
    DAY_MS,
    HOUR_MS,
    date_of,
    day_ms,
    from_ms,
    iso,
    parse_iso,
)
from src.data.core.model.time.span import Span
from src.data.core.vendors.fmp.bars import FMPDataDownloader
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

BASE = "https://financialmodelingprep.com/stable/"
VOD = Instrument("VOD.L", "stock", "XLON", "Europe/London")

BARS: dict[str, tuple[str, int, str, str]] = {
    "historical-price-full-AAPL-2023-01": ("1d", 6, "2023-01-03", "2023-01-10"),
    "doc-historical-chart-5min": ("5m", 1, "2023-03-02T21:00:00", "2023-03-02T21:00:00"),
}
ERRORS: dict[str, Any] = {
    "error-401-invalid-key": AuthenticationError,
    "error-429-limit-reach": RateLimitedError,
}


def fmp(*answers: Any) -> Any:
    return keyed(FMPDataDownloader, *answers)


def row(label: str, price: float = 10.0) -> dict[str, Any]:
    prices = {"open": price, "high": price + 1, "low": price - 1, "close": price}
    return {"symbol": "AAPL", "date": label, **prices, "volume": 7, "vwap": price}


@pytest.mark.parametrize(
    "who, timeframe, start, end, asked",
    [
        (AAPL, "1d", "2024-01-02", "2024-02-01",
         "historical-price-eod/full?symbol=AAPL&from=2024-01-02&to=2024-01-31"),
        (AAPL, "1m", "2024-01-02T14:30:00Z", "2024-01-03T04:00:00Z",
         "historical-chart/1min?symbol=AAPL&from=2024-01-02&to=2024-01-02"),
        (AAPL, "5m", "2024-01-02T04:59:59Z", "2024-01-03T05:00:00.001Z",
         "historical-chart/5min?symbol=AAPL&from=2024-01-01&to=2024-01-03"),
        (AAPL, "15m", "2024-01-02T12:00:00Z", "2024-01-02T13:00:00Z",
         "historical-chart/15min?symbol=AAPL&from=2024-01-02&to=2024-01-02"),
        (AAPL, "30m", "2024-01-02T12:00:00Z", "2024-01-02T13:00:00Z",
         "historical-chart/30min?symbol=AAPL&from=2024-01-02&to=2024-01-02"),
        (VOD, "1h", "2024-07-01T22:59:00Z", "2024-07-01T23:30:00Z",
         "historical-chart/1hour?symbol=VOD.L&from=2024-07-01&to=2024-07-02"),
    ],
)  # fmt: skip
def test_a_bars_request_has_the_documented_url(
    who: Instrument, timeframe: str, start: str, end: str, asked: str
) -> None:
    vendor, _ = fmp()
    assert line_of(vendor.bars_request(query(timeframe, start, end, who), None)) == BASE + asked


def test_the_key_is_sent_and_never_shown() -> None:
    assert_keeps_its_key(fmp()[0], query("1d", 0, DAY_MS, AAPL), "FMP_API_KEY")


def test_four_hour_bars_are_refused_without_a_request() -> None:
    vendor, transport = fmp()
    with pytest.raises(CapabilityError, match="not 4h"):
        vendor.fetch(query("4h", 0, DAY_MS, AAPL))
    assert transport.asked == []


@pytest.mark.parametrize(
    "who, timeframe, label, stamp",
    [
        (AAPL, "5m", "2024-03-08 09:30:00", "2024-03-08T14:30:00Z"),
        (AAPL, "5m", "2024-03-11 09:30:00", "2024-03-11T13:30:00Z"),
        (VOD, "5m", "2024-03-28 08:00:00", "2024-03-28T08:00:00Z"),
        (VOD, "5m", "2024-04-02 08:00:00", "2024-04-02T07:00:00Z"),
        (Instrument("AAPL", "stock"), "5m", "2024-03-11 09:30:00", "2024-03-11T13:30:00Z"),
        (AAPL, "1d", "2024-03-11", "2024-03-11T00:00:00Z"),
    ],
)
def test_labels_of_rows_become_stamps(
    who: Instrument, timeframe: str, label: str, stamp: str
) -> None:
    asked = query(timeframe, "2024-03-01", "2024-05-01", who)
    (bar,) = fmp()[0].parse_bars(answer([{**row(label), "symbol": who.symbol}]), asked).bars
    assert (iso(bar.stamp_ms), bar[1:6]) == (stamp, (10.0, 11.0, 9.0, 10.0, 7.0))


def test_bars_outside_of_the_span_on_its_dates_are_left_out() -> None:
    asked = query("5m", "2024-03-11T14:00:00Z", "2024-03-11T15:00:00Z", AAPL)
    labels = ["2024-03-11 10:55:00", "2024-03-11 11:00:00", "2024-03-11 09:30:00"]
    got = fmp()[0].parse_bars(answer([row(label) for label in labels]), asked).bars
    assert [iso(bar.stamp_ms) for bar in got] == ["2024-03-11T14:55:00Z"]
    elsewhere = fmp()[0].parse_bars(answer([row("2023-03-11 10:55:00")]), asked).bars
    assert len(elsewhere) == 1


@pytest.mark.parametrize("body", [[], {}])
def test_an_empty_response_raises_no_data(body: Any) -> None:
    with pytest.raises(NoDataError):
        fmp(answer(body))[0].fetch(query("1d", "2024-01-02", "2024-02-01", AAPL))


def test_a_missing_price_is_nan() -> None:
    asked = query("1d", "2024-01-02", "2024-01-03", AAPL)
    (bar,) = fmp()[0].parse_bars(answer([row("2024-01-02") | {"open": None}]), asked).bars
    assert math.isnan(bar.open)


@pytest.mark.parametrize(
    "status, body, kind",
    [
        (200, {"Error Message": "Limit Reach . Please upgrade your plan"}, RateLimitedError),
        (429, {"Error Message": "Limit Reach ."}, RateLimitedError),
        (403, {"Error Message": "Bandwidth Limit Reach . Please upgrade"}, RateLimitedError),
        (200, {"Error Message": "Invalid API KEY. Please retry"}, AuthenticationError),
        (401, {"Error Message": "Invalid API KEY."}, AuthenticationError),
        (402, b"Premium Query Parameter: 'Special Endpoint", EntitlementError),
        (403, {"Error Message": "Legacy Endpoint : only for legacy users"}, EntitlementError),
        (403, {"Error Message": "Exclusive Endpoint : upgrade"}, EntitlementError),
        (200, b"Premium Query Parameter", EntitlementError),
        (403, b"", EntitlementError),
        (404, [], SymbolNotFoundError),
        (500, b"<html>premium </html>", UnavailableError),
        (200, {"Error Message": "Something else"}, ResponseFormatError),
    ],
)
def test_error_responses_become_typed_errors(status: int, body: Any, kind: Any) -> None:
    assert type(fmp()[0].classify(answer(body, status))) is kind


def test_unreadable_answers_raise_a_typed_error() -> None:
    asked = query("1d", "2024-12-02", "2024-12-03", AAPL)
    assert_fails_clearly(fmp()[0], asked, answer([row("2024-12-02")]))


def test_splits_and_dividends_are_fetched_as_actions() -> None:
    splits = [{"symbol": "AAPL", "date": "2020-08-31", "numerator": 4, "denominator": 1}]
    paid = [
        {"date": "2020-11-06", "adjDividend": 0.1, "dividend": 0.205, "paymentDate": "2020-11-12"},
        {"date": "2019-11-06", "dividend": 1},
    ]
    vendor, transport = fmp(answer(splits), answer(paid))
    span = Span(parse_iso("2020-01-01"), parse_iso("2021-01-01"))
    split, dividend = vendor.fetch_actions(AAPL, span, NOW_MS)
    assert (split.ex_date, split.ratio, split.source) == (date(2020, 8, 31), 4, "fmp")
    assert (dividend.amount, dividend.as_paid) == (0.205, True)
    assert (dividend.pay_date, dividend.currency) == ("2020-11-12", "")
    assert [line_of(r) for r in transport.asked] == [
        f"{BASE}splits?symbol=AAPL", f"{BASE}dividends?symbol=AAPL",
    ]  # fmt: skip


TRUTH = {at: 100.0 + n for n, at in enumerate(
    range(parse_iso("2024-02-20T14:30:00"), parse_iso("2024-03-20"), 3 * HOUR_MS))}  # fmt: skip
ZONE = ZoneInfo("America/New_York")


def days_of_truth(request: HttpRequest) -> HttpResponse:
    """Answer whole dates of New York, both ends inclusive, newest first."""
    first, last = (date.fromisoformat(str(request.params[name])) for name in ("from", "to"))
    assert last - first <= timedelta(days=8)
    rows = [
        row(f"{from_ms(at).replace(tzinfo=UTC).astimezone(ZONE):%Y-%m-%d %H:%M:%S}", price)
        for at, price in sorted(TRUTH.items(), reverse=True)
        if first <= local_date(ZONE, at) <= last
    ]
    return answer(rows)


@settings(max_examples=examples(25), derandomize=True, deadline=None)
@given(st.integers(-1, 28), st.integers(4, 30 * 24))
def test_bars_joined_from_windows_are_the_true_ones(day: int, hours: int) -> None:
    start = min(TRUTH) + day * DAY_MS + hours * 60_000
    end = start + hours * HOUR_MS
    expected = {at: p for at, p in TRUTH.items() if start <= at < end}
    vendor, _ = fmp(*[days_of_truth] * 6)
    try:
        table = vendor.fetch(query("5m", start, end, AAPL)).table
        got = dict(zip(table.stamps.tolist(), table.close.tolist(), strict=True))
    except NoDataError:
        got = {}
    assert got == expected


def test_the_declared_capabilities_are_split_adjusted_prices_and_separate_actions() -> None:
    caps = fmp()[0].capabilities
    assert (caps.adjustment, caps.actions, caps.tells_actions) == ("split", False, True)
    assert FMPDataDownloader.raw_shape == "index"


# --- recorded answers --------------------------------------------------------------------------


@needs_reference
@pytest.mark.parametrize("name", BARS)
def test_recorded_bars_are_parsed_completely_and_in_order(name: str) -> None:
    timeframe, count, first, last = BARS[name]
    recording, response = recorded("fmp", name)
    day = day_ms(date_of(parse_iso(first)))
    asked = query(timeframe, day, day_ms(date_of(parse_iso(last))) + DAY_MS, AAPL)
    good = checked(fmp(response)[0].fetch(asked), asked)
    assert (len(good.good), good.bad) == (count, ())
    assert (good.good.stamps[0], good.good.stamps[-1]) == (parse_iso(first), parse_iso(last))
    body = recording["body"]
    newest = (body["historical"] if isinstance(body, dict) else body)[0]
    assert good.good.close[-1] == newest["close"]
    if "adjClose" in newest:
        assert good.good.adj_close is not None
        assert good.good.adj_close[-1] == newest["adjClose"]


@needs_reference
@pytest.mark.parametrize("name", ERRORS)
def test_a_recorded_error_becomes_its_typed_error(name: str) -> None:
    _, response = recorded("fmp", name)
    assert type(fmp()[0].classify(response)) is ERRORS[name]


@needs_reference
def test_recorded_splits_and_dividends_become_actions() -> None:
    splits, calendar = (
        recorded("fmp", name)[1] for name in ("doc-stock_split-AAPL", "calendar-dividend")
    )
    # The calendar is of many shares: of one alone it would look so.
    of_one = [{**row, "symbol": "AAPL"} for row in calendar.json()]
    with pytest.raises(ResponseFormatError, match=r"answered for 'EL4N\.DE', not 'AAPL'"):
        fmp(splits, calendar)[0].fetch_actions(AAPL, Span(0, NOW_MS), NOW_MS)
    vendor, _ = fmp(splits, answer(of_one))
    found = vendor.fetch_actions(AAPL, Span(0, NOW_MS), NOW_MS)
    assert (found[0].type, found[0].ratio) == ("split", 4)
    assert {a.type for a in found[1:]} == {"dividend"}
    assert len(found) == 121


@pytest.mark.parametrize("body", ["", "x", None, {"historical": ""}, {"symbol": "AAPL"}, 0, True])
def test_an_answer_that_is_not_a_list_of_rows_is_refused(body: Any) -> None:
    vendor, _ = fmp(answer(body))
    with pytest.raises(ResponseFormatError):
        vendor.fetch(query("1d", "2024-06-03", "2024-06-05", AAPL))

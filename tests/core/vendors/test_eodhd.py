from __future__ import annotations

import math
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.model.time.instant import DAY_MS, MINUTE_MS, iso, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.symbols.classify import stock_names
from src.data.core.vendors.eodhd.bars import EODHDDataDownloader
from src.data.errors import (
    AuthenticationError,
    CapabilityError,
    EntitlementError,
    NoDataError,
    RateLimitedError,
    ResponseFormatError,
    SymbolNotFoundError,
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

BASE = "https://eodhd.com/api/"
US = Instrument("BRK-B", "stock", "XNYS", "America/New_York", spellings={"eodhd": "BRK-B.US"})
BTC = Instrument("BTCUSDT", "crypto", quote="USDT", spellings={"eodhd": "BTC-USD.CC"})

BARS: dict[str, tuple[str, int, str, str]] = {
    "eod-AAPL.US-daily-csv-2018-2019": ("1d", 441, "2018-01-02", "2019-10-02"),
    "eod-BHP.AU-daily-json": ("1d", 300, "1993-04-01", "1994-06-16"),
    # three of its 250 rows are official closes
    "intraday-AAPL.US-5m-json": ("5m", 247, "2025-06-09T13:30:00", "2025-06-12T14:30:00"),
}
ERRORS: dict[str, Any] = {"error-401-eod-unauthenticated": AuthenticationError}


def eodhd(*answers: Any) -> Any:
    return keyed(EODHDDataDownloader, *answers)


def row(at: int, price: float = 10.0) -> dict[str, Any]:
    prices = {"open": price, "high": price + 1, "low": price - 1, "close": price}
    return {"timestamp": at // 1000, "gmtoffset": 0, "datetime": iso(at), **prices, "volume": 7}


@pytest.mark.parametrize(
    "who, timeframe, asked",
    [
        (US, "1d", "eod/BRK-B.US?from=2024-01-02&to=2024-01-31&period=d&order=a&fmt=json"),
        (US, "5m", "intraday/BRK-B.US?interval=5m&from=1704153600&to=1706745599&fmt=json"),
        (BTC, "1m", "intraday/BTC-USD.CC?interval=1m&from=1704153600&to=1706745599&fmt=json"),
        (BTC, "1h", "intraday/BTC-USD.CC?interval=1h&from=1704153600&to=1706745599&fmt=json"),
    ],
)
def test_a_bars_request_has_the_documented_url_and_cost(
    who: Instrument, timeframe: str, asked: str
) -> None:
    request = eodhd()[0].bars_request(query(timeframe, "2024-01-02", "2024-02-01", who), None)
    assert line_of(request) == BASE + asked
    assert request.cost == (1 if timeframe == "1d" else 5)


def test_the_key_is_sent_and_never_shown() -> None:
    assert_keeps_its_key(eodhd()[0], query("1d", 0, DAY_MS, AAPL), "EODHD_API_KEY")


@pytest.mark.parametrize("timeframe", ["1m", "1h"])
def test_minutes_of_shares_with_other_hours_are_refused_without_a_request(timeframe: str) -> None:
    vendor, transport = eodhd()
    with pytest.raises(CapabilityError, match="serves the timeframes 5m 1d"):
        vendor.fetch(query(timeframe, 0, DAY_MS, US))
    assert transport.asked == []


def test_the_official_close_is_not_read_as_a_bar() -> None:
    at = parse_iso("2024-01-02T20:55:00")
    rows = [row(at), row(at + 5 * MINUTE_MS) | {"volume": None}]
    asked = query("5m", at, at + DAY_MS, US)
    assert [b.stamp_ms for b in eodhd()[0].parse_bars(answer(rows), asked).bars] == [at]
    pair = query("5m", at, at + DAY_MS, Instrument("EURUSD=X", "forex"))
    assert len(eodhd()[0].parse_bars(answer(rows), pair).bars) == 2


def test_a_missing_price_is_nan_and_pairs_have_their_unit() -> None:
    at = parse_iso("2024-01-02")
    page = eodhd()[0].parse_bars(
        answer([row(at) | {"open": None}]), query("1m", at, at + DAY_MS, BTC)
    )
    assert math.isnan(page.bars[0].open)
    assert page.unit == "USD"


@pytest.mark.parametrize(
    "status, body, kind",
    [
        (401, b"Unauthenticated", AuthenticationError),
        (402, b"You exceeded your daily API requests limit.", RateLimitedError),
        (403, b"Forbidden", EntitlementError),
        (404, b"Ticker Not Found.", SymbolNotFoundError),
        (422, {"errors": {"to": ["Max period length is 120 days"]}}, CapabilityError),
        (429, b"Too many", RateLimitedError),
    ],
)
def test_error_responses_become_typed_errors(status: int, body: Any, kind: Any) -> None:
    assert type(eodhd()[0].classify(answer(body, status))) is kind


def test_unreadable_answers_raise_a_typed_error() -> None:
    at = parse_iso("2024-12-02T15:00:00")
    asked = query("5m", at, at + DAY_MS, AAPL)
    assert_fails_clearly(eodhd()[0], asked, answer([row(at)]))


def day(text: str, adjusted: float | None) -> dict[str, Any]:
    return row(parse_iso(text)) | {"date": text, "adjusted_close": adjusted, "volume": 400}


def test_daily_volumes_are_unadjusted_for_later_splits() -> None:
    splits = [
        {"date": "2020-08-31", "split": "4.000000/1.000000"},
        {"date": "2020-09-02", "split": "1.000000/2.000000"},
    ]
    days = [day("2020-08-28", 5.0), day("2020-08-31", 20.0), day("2020-09-02", 10.0)]
    vendor, transport = eodhd(answer(days), answer(splits))
    found = vendor.fetch(query("1d", "2020-08-28", "2020-09-03", AAPL))
    assert found.table.volume.tolist() == [200.0, 800.0, 400.0]
    assert found.table.close.tolist() == [10.0, 10.0, 10.0], "prices are as traded already"
    assert (found.requests, found.dense) == (2, True)
    assert line_of(transport.asked[1]).startswith(f"{BASE}splits/AAPL?from=2020-08-28&to=")


@pytest.mark.parametrize(
    "who, adjusted, requests",
    [(AAPL, 10.0, 1), (AAPL, 9.99, 2), (AAPL, None, 2), (BTC, 5.0, 1)],
    ids=lambda value: getattr(value, "symbol", str(value)),
)
def test_splits_are_requested_only_if_there_can_be_any(
    who: Instrument, adjusted: float | None, requests: int
) -> None:
    vendor, transport = eodhd(answer([day("2024-05-28", adjusted)]), answer([]))
    assert vendor.fetch(query("1d", "2024-05-28", "2024-05-29", who)).requests == requests
    assert len(transport.asked) == requests


def test_daily_bars_fail_if_their_splits_cannot_be_fetched() -> None:
    for wrong, kind in (
        (answer({"x": 1}), ResponseFormatError),
        (answer([], 403), EntitlementError),
    ):
        vendor, _ = eodhd(answer([day("2024-05-28", 9.0)]), wrong)
        with pytest.raises(kind) as caught:
            vendor.fetch(query("1d", "2024-05-28", "2024-05-29", AAPL))
        assert (caught.value.provider, caught.value.symbol) == ("eodhd", "AAPL")


def test_splits_and_dividends_are_fetched_as_actions() -> None:
    splits = [{"date": "2020-08-31", "split": "4.000000/1.000000"}]
    paid = [{"date": "2020-11-06", "value": 0.205, "unadjustedValue": 0.205, "currency": "USD",
             "paymentDate": "2020-11-12"}]  # fmt: skip
    vendor, transport = eodhd(answer(splits), answer(paid))
    span = Span(parse_iso("2020-01-01"), parse_iso("2021-01-01"))
    split, dividend = vendor.fetch_actions(US, span, NOW_MS)
    assert (split.ex_date, split.ratio, split.source) == (date(2020, 8, 31), 4, "eodhd")
    assert (dividend.amount, dividend.as_paid) == (0.205, False)
    assert (dividend.pay_date, dividend.currency) == ("2020-11-12", "USD")
    assert [line_of(r) for r in transport.asked] == [
        f"{BASE}{path}/BRK-B.US?from=2020-01-01&to=2020-12-31&fmt=json"
        for path in ("splits", "div")
    ]


TRUTH = {at: 100.0 + n for n, at in enumerate(
    range(parse_iso("2019-01-02"), parse_iso("2023-01-02"), 37 * 6 * 60 * MINUTE_MS))}  # fmt: skip


def range_of_truth(request: HttpRequest) -> HttpResponse:
    """Answer a range of seconds, both ends inclusive, ascending; a longer one is refused."""
    first, last = (int(request.params[name]) for name in ("from", "to"))
    if last - first > 600 * 86_400:
        return answer({"errors": {"to": ["Max period length is 600 days"]}}, 422)
    return answer([row(at, p) for at, p in TRUTH.items() if first <= at // 1000 <= last])


@settings(max_examples=examples(25), derandomize=True, deadline=None)
@given(st.integers(-1, 1400), st.integers(1, 1500))
def test_bars_joined_from_windows_are_the_true_ones(day: int, days: int) -> None:
    start, length = min(TRUTH) + day * DAY_MS + days * MINUTE_MS, days * DAY_MS
    expected = {at: p for at, p in TRUTH.items() if start <= at < start + length}
    try:
        table = eodhd(*[range_of_truth] * 4)[0].fetch(query("5m", start, start + length, US)).table
        got = dict(zip(table.stamps.tolist(), table.close.tolist(), strict=True))
    except NoDataError:
        got = {}
    assert got == expected


def test_the_declared_capabilities_are_raw_prices_and_separate_actions() -> None:
    caps = eodhd()[0].capabilities
    assert (caps.adjustment, caps.has_forming, caps.tells_actions) == ("raw", False, True)


# --- recorded answers --------------------------------------------------------------------------


@needs_reference
@pytest.mark.parametrize("name", BARS)
def test_recorded_bars_are_parsed_completely_and_in_order(name: str) -> None:
    timeframe, count, first, last = BARS[name]
    _, response = recorded("eodhd", name)
    asked = query(
        timeframe, parse_iso(first), parse_iso(last) + DAY_MS, AAPL, parse_iso("2026-01-01")
    )
    splits = answer([]) if "BHP" in name else recorded("eodhd", "splits-AAPL.US-csv")[1]
    good = checked(eodhd(response, splits)[0].fetch(asked), asked)
    assert (len(good.good), good.bad, good.nulls) == (count, (), 0)
    assert (good.good.stamps[0], good.good.stamps[-1]) == (parse_iso(first), parse_iso(last))
    assert (good.good.adj_close is not None) == (timeframe == "1d")


@needs_reference
def test_a_recorded_day_equals_the_values_written_by_hand() -> None:
    _, response = recorded("eodhd", "eod-AAPL.US-daily-csv-2018-2019")
    (bar,) = eodhd()[0].parse_bars(response, query("1d", "2018-01-02", "2018-01-03", AAPL)).bars[:1]
    assert bar[1:] == (170.16, 172.3, 169.26, 172.26, 25555934.0, 167.7017)


@needs_reference
@pytest.mark.parametrize("name", ERRORS)
def test_a_recorded_error_becomes_its_typed_error(name: str) -> None:
    _, response = recorded("eodhd", name)
    assert type(eodhd()[0].classify(response)) is ERRORS[name]


@needs_reference
def test_recorded_splits_and_dividends_become_actions() -> None:
    answers = [recorded("eodhd", name)[1] for name in ("splits-AAPL.US-csv", "div-AAPL.US-csv")]
    found = eodhd(*answers)[0].fetch_actions(AAPL, Span(0, NOW_MS), NOW_MS)
    assert found == sorted(found)
    assert [(a.ex_date.isoformat(), a.ratio) for a in found if a.type == "split"] == [
        ("2000-06-21", 2), ("2005-02-28", 2), ("2014-06-09", 7),
    ]  # fmt: skip
    paid = [a.amount for a in found if a.type == "dividend"]
    assert (len(paid), paid[0], paid[-1]) == (29, 0.37857, 0.77)


@needs_reference
@pytest.mark.parametrize("suffix", [".L", ".DE", ".AX", ".SS", ".SZ", ".KS", ".PA", ".WA", ".BD"])
def test_venues_are_sent_in_eodhds_spelling(suffix: str) -> None:
    recording, _ = recorded("eodhd", "exchanges-list")
    codes = {entry["Code"] for entry in recording["body"]}
    spelled = {"eodhd": "X" + suffix} | dict(stock_names("X", suffix, suffix))
    assert spelled["eodhd"].partition(".")[2] in codes

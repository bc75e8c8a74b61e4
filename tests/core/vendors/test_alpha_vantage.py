from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, date
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, from_ms, iso, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.vendors.alpha_vantage.bars import AlphaVantageDataDownloader
from src.data.core.vendors.dates import NEW_YORK
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

BASE = "https://www.alphavantage.co/query?function="
BTC = Instrument("BTCUSDT", "crypto", quote="USDT", spellings={"alpha_vantage": "BTC-USD"})
EUR = Instrument("EURUSD=X", "forex", "FX", spellings={"alpha_vantage": "EUR-USD"})

BARS: dict[str, tuple[str, int, str, str]] = {
    # recording: timeframe, rows, first and last stamp
    "daily-MSFT-2018-05": ("1d", 1, "2018-05-24", "2018-05-24"),
    "daily-adjusted-MSFT-2018-05": ("1d", 3, "2018-05-23", "2018-05-25"),
    "intraday-AAPL-15min-month-csv-adjusted": (
        "15m", 28, "2023-01-30T20:30:00", "2023-01-31T20:45:00",
    ),
    "intraday-MSFT-1min-compact": ("1m", 60, "2017-12-18T18:57:00", "2017-12-18T19:56:00"),
}  # fmt: skip
ERRORS: dict[str, Any] = {
    "error-information-25-per-day": RateLimitedError,
    "error-message-invalid-symbol": SymbolNotFoundError,
    "error-note-5-per-minute": RateLimitedError,
    "global-quote-empty-unknown-symbol": SymbolNotFoundError,
}


def av(*answers: Any) -> Any:
    return keyed(AlphaVantageDataDownloader, *answers)


def series(rows: dict[str, float], name: str = "Daily", **meta: str) -> dict[str, Any]:
    values = ("1. open", "2. high", "3. low", "4. close", "5. volume")
    return {
        "Meta Data": {f"{n}. {key}": text for n, (key, text) in enumerate(meta.items(), 1)},
        f"Time Series ({name})": {
            at: dict(zip(values, [str(p), str(p + 1), str(p - 1), str(p), "7"], strict=True))
            for at, p in sorted(rows.items(), reverse=True)
        },
    }


@pytest.mark.parametrize(
    "who, timeframe, start, asked",
    [
        (AAPL, "1m", "2024-03-11", "TIME_SERIES_INTRADAY&symbol=AAPL&interval=1min&month=2024-03"),
        (AAPL, "15m", "2024-03-01T04:59:59Z",
         "TIME_SERIES_INTRADAY&symbol=AAPL&interval=15min&month=2024-02"),
        (AAPL, "30m", "1999-05-01", "TIME_SERIES_INTRADAY&symbol=AAPL&interval=30min&month=2000-01"),
        (AAPL, "1d", "2000-01-03", "TIME_SERIES_DAILY&symbol=AAPL&outputsize=full"),
        (AAPL, "1d", "2024-10-01", "TIME_SERIES_DAILY&symbol=AAPL&outputsize=compact"),
        (AAPL, "1w", "2000-01-03", "TIME_SERIES_WEEKLY&symbol=AAPL"),
        (AAPL, "1M", "2000-01-03", "TIME_SERIES_MONTHLY&symbol=AAPL"),
        (EUR, "1d", "2024-12-01", "FX_DAILY&from_symbol=EUR&to_symbol=USD&outputsize=compact"),
        (EUR, "1w", "2024-12-01", "FX_WEEKLY&from_symbol=EUR&to_symbol=USD"),
        (BTC, "1d", "2020-01-01", "DIGITAL_CURRENCY_DAILY&symbol=BTC&market=USD"),
    ],
)  # fmt: skip
def test_a_bars_request_has_the_documented_url(
    who: Instrument, timeframe: str, start: str, asked: str
) -> None:
    vendor, _ = av()
    request = vendor.bars_request(query(timeframe, start, "2025-01-01", who), None)
    tail = "&outputsize=full&adjusted=false&extended_hours=false" if timeframe[-1] == "m" else ""
    assert line_of(request) == BASE + asked + tail


def test_the_key_is_sent_and_never_shown() -> None:
    assert_keeps_its_key(av()[0], query("1d", 0, DAY_MS, AAPL), "ALPHAVANTAGE_API_KEY")


def test_the_key_is_accepted_under_either_name() -> None:
    made = AlphaVantageDataDownloader(credentials={"ALPHAVANTAGE_API_KEY": "k"}, sender=None)
    assert made.secret("ALPHA_VANTAGE_API_KEY") == "k"


@pytest.mark.parametrize("who", [EUR, BTC])
def test_minutes_of_pairs_are_refused_without_a_request(who: Instrument) -> None:
    vendor, transport = av()
    with pytest.raises(CapabilityError, match="serves the timeframes 1d 1w 1M, not 5m"):
        vendor.fetch(query("5m", 0, DAY_MS, who))
    assert transport.asked == []


def test_a_pair_needs_both_of_its_names() -> None:
    with pytest.raises(CapabilityError, match="BTC-USD"):
        av()[0].fetch(query("1d", 0, DAY_MS, Instrument("BTCUSD", "crypto")))


@pytest.mark.parametrize(
    "timeframe, label, zone, stamp",
    [
        ("5m", "2024-03-08 09:30:00", "US/Eastern", "2024-03-08T14:30:00Z"),  # winter
        ("5m", "2024-03-11 09:30:00", "US/Eastern", "2024-03-11T13:30:00Z"),  # summer
        ("5m", "2024-11-04 15:55:00", "America/New_York", "2024-11-04T20:55:00Z"),
        ("1d", "2024-03-11", "US/Eastern", "2024-03-11"),
        ("1w", "2024-03-15", "US/Eastern", "2024-03-11"),
        ("1w", "2024-03-13", "US/Eastern", "2024-03-11"),  # the running week
        ("1M", "2024-03-28", "US/Eastern", "2024-03-01"),
        ("1d", "2024-03-10", "UTC", "2024-03-10"),
    ],
)
def test_labels_in_the_answers_time_zone_become_stamps(
    timeframe: str, label: str, zone: str, stamp: str
) -> None:
    vendor, _ = av()
    response = answer(series({label: 10.0}, "", **{"Time Zone": zone}))
    page = vendor.parse_bars(response, query(timeframe, "2024-03-01", "2024-12-01", AAPL))
    assert [iso(bar.stamp_ms) for bar in page.bars] == [iso(parse_iso(stamp))]
    assert page.bars[0][1:6] == (10.0, 11.0, 9.0, 10.0, 7.0)


def test_only_bars_of_the_requested_span_are_returned() -> None:
    rows = {f"2024-12-{day:02}": float(day) for day in range(2, 28)}
    asked = query("1d", "2024-12-05", "2024-12-07", AAPL)
    got = av(answer(series(rows)))[0].fetch(asked)
    assert sorted(got.table.close.tolist()) == [5.0, 6.0]
    with pytest.raises(NoDataError):
        av(answer(series(rows)))[0].fetch(query("1d", "2024-11-05", "2024-11-07", AAPL))


def test_currencies_have_no_volume_and_pairs_have_their_unit() -> None:
    fx = {"Time Series FX (Daily)": {"2024-12-02": {
        "1. open": "1.1", "2. high": "1.2", "3. low": "1.0", "4. close": "1.1"}}}  # fmt: skip
    euros = query("1d", "2024-12-02", "2024-12-03", EUR)
    bar = av()[0].parse_bars(answer(fx), euros).bars[0]
    assert math.isnan(bar.volume)
    for name, other in ("2. From Symbol", "GBP"), ("3. To Symbol", "JPY"):
        with pytest.raises(ResponseFormatError, match=f"answered for '{other}'"):
            av()[0].parse_bars(answer({"Meta Data": {name: other}, **fx}), euros)
    old = {f"{n}{letter}. {what} ({unit})": str(price) for letter, unit, price in
           (("a", "CNY", 7.0), ("b", "USD", 1.0)) for n, what in
           enumerate(("open", "high", "low", "close"), 1)} | {"5. volume": "3"}  # fmt: skip
    body = {"Meta Data": {"4. Market Code": "CNY", "7. Time Zone": "UTC"},
            "Time Series (Digital Currency Daily)": {"2024-12-02": old}}  # fmt: skip
    yuan = Instrument("BTC-CNY", "crypto", quote="CNY")
    page = av()[0].parse_bars(answer(body), query("1d", "2024-12-02", "2024-12-03", yuan))
    assert (page.bars[0][1:6], page.unit) == ((7.0, 7.0, 7.0, 7.0, 3.0), "CNY")
    with pytest.raises(ResponseFormatError, match="answered for 'CNY', not 'USD'"):
        av()[0].parse_bars(answer(body), query("1d", "2024-12-02", "2024-12-03", BTC))


def test_missing_prices_are_nan() -> None:
    body = series({"2024-12-02": 5.0})
    body["Time Series (Daily)"]["2024-12-02"] |= {"1. open": None, "2. high": "None"}
    bar = av()[0].parse_bars(answer(body), query("1d", "2024-12-02", "2024-12-03", AAPL)).bars[0]
    assert [math.isnan(value) for value in bar[1:5]] == [True, True, False, False]


@pytest.mark.parametrize(
    "key, text, kind, wait",
    [
        ("Note", "standard API call frequency is 5 calls per minute", RateLimitedError, 60),
        ("Information", "our standard API rate limit is 25 requests per day", RateLimitedError, 3600),
        ("Information", "more sparingly (1 request per second)", RateLimitedError, 60),
        ("Information", "Thank you! This is a premium endpoint. You may subscribe", EntitlementError, None),
        ("Information", "The outputsize=full parameter value is a premium feature", CapabilityError, None),
        ("Information", "The **demo** API key is for demo purposes only.", AuthenticationError, None),
        ("Error Message", "the parameter apikey is invalid or missing.", AuthenticationError, None),
        ("Error Message", "Invalid API call. Please retry", SymbolNotFoundError, None),
        ("Information", "We moved.", ResponseFormatError, None),
    ],
)  # fmt: skip
def test_sentences_in_place_of_data_become_typed_errors(
    key: str, text: str, kind: Any, wait: float | None
) -> None:
    error = av()[0].classify(answer({key: text}))
    assert type(error) is kind
    assert getattr(error, "retry_after", None) == wait


def test_an_empty_quote_means_an_unknown_symbol() -> None:
    assert type(av()[0].classify(answer({"Global Quote": {}}))) is SymbolNotFoundError


@pytest.mark.parametrize(
    "body",
    [
        {}, {"Meta Data": {}}, {"Time Series (Daily)": {}},
        {"Meta Data": {}, "Time Series (Daily)": {}}, {"Meta Data": None, "Time Series (Daily)": {}},
    ],
)  # fmt: skip
def test_an_answer_with_empty_values_does_not_mean_an_unknown_symbol(body: Any) -> None:
    vendor, _ = av(answer(body))
    with pytest.raises(ResponseFormatError):
        vendor.fetch(query("1d", "2024-12-02", "2024-12-03", AAPL))


def test_unreadable_answers_raise_a_typed_error() -> None:
    asked = query("1d", "2024-12-02", "2024-12-03", AAPL)
    assert_fails_clearly(av()[0], asked, answer(series({"2024-12-02": 5.0})))


def test_splits_and_dividends_are_fetched_as_actions() -> None:
    splits = {"symbol": "AAPL", "data": [
        {"effective_date": "2020-08-31", "split_factor": "4.0000"},
        {"effective_date": "2014-06-09", "split_factor": "7.0000"}]}  # fmt: skip
    paid = {"symbol": "AAPL", "data": [{"ex_dividend_date": "2020-11-06", "amount": "0.205",
                                        "payment_date": "2020-11-12"}]}  # fmt: skip
    vendor, transport = av(answer(splits), answer(paid))
    span = Span(parse_iso("2020-01-01"), parse_iso("2021-01-01"))
    split, dividend = vendor.fetch_actions(AAPL, span, NOW_MS)
    assert (split.ex_date, split.ratio, split.source) == (date(2020, 8, 31), 4, "alpha_vantage")
    assert split.ex_at == parse_iso("2020-08-31T04:00:00Z")
    assert (dividend.amount, dividend.as_paid, dividend.fetched_at) == (0.205, True, NOW_MS)
    assert (dividend.pay_date, dividend.currency) == ("2020-11-12", "")
    assert [line_of(r) for r in transport.asked] == [
        f"{BASE}{function}&symbol=AAPL" for function in ("SPLITS", "DIVIDENDS")
    ]
    with pytest.raises(ResponseFormatError, match="actions"):
        av(answer({"symbol": "AAPL"}))[0].fetch_actions(AAPL, span, NOW_MS)
    with pytest.raises(ResponseFormatError, match="answered for 'MSFT'"):
        av(answer(splits | {"symbol": "MSFT"}))[0].fetch_actions(AAPL, span, NOW_MS)


@pytest.mark.parametrize(
    "text, wanted",
    [("0.0333", (1, 30)), ("1.5000", (3, 2)), ("1.0500", (21, 20)), ("1.0439", (10439, 10000)),
     ("0.0050", (1, 200)), ("2.0000", (2, 1)), ("1.0278", (37, 36)), ("7", (7, 1)), ("0.0125", (1, 80))],
)  # fmt: skip
def test_a_rounded_split_factor_is_the_ratio_of_small_integers(
    text: str, wanted: tuple[int, int]
) -> None:
    splits = {"symbol": "AAPL", "data": [{"effective_date": "2020-08-31", "split_factor": text}]}
    vendor, _ = av(answer(splits), answer({"symbol": "AAPL", "data": []}))
    span = Span(parse_iso("2020-01-01"), parse_iso("2021-01-01"))
    (split,) = vendor.fetch_actions(AAPL, span, NOW_MS)
    assert (split.numerator, split.denominator) == wanted


@pytest.mark.parametrize("text", ["0.0067", "0.0083", "0.0033"])
def test_a_split_factor_that_was_rounded_too_much_is_refused(text: str) -> None:
    splits = {"symbol": "AAPL", "data": [{"effective_date": "2020-08-31", "split_factor": text}]}
    vendor, _ = av(answer(splits), answer({"symbol": "AAPL", "data": []}))
    span = Span(parse_iso("2020-01-01"), parse_iso("2021-01-01"))
    with pytest.raises(ResponseFormatError, match=f"the split factor {text} is rounded too much"):
        vendor.fetch_actions(AAPL, span, NOW_MS)


def test_a_split_factor_of_many_digits_is_refused() -> None:
    text = "1." + "3" * 100_000
    splits = {"symbol": "AAPL", "data": [{"effective_date": "2020-08-31", "split_factor": text}]}
    vendor, _ = av(answer(splits), answer({"symbol": "AAPL", "data": []}))
    span = Span(parse_iso("2020-01-01"), parse_iso("2021-01-01"))
    with pytest.raises(
        ResponseFormatError, match="a split factor has at most 30 characters"
    ) as caught:
        vendor.fetch_actions(AAPL, span, NOW_MS)
    assert len(str(caught.value)) < 300


TRUTH = {
    at: 100.0 + n
    for n, at in enumerate(range(parse_iso("2024-01-25T14:30:00"), parse_iso("2024-04-10"), 5 * HOUR_MS))
}  # fmt: skip
FIRST, LAST = min(TRUTH) - DAY_MS, max(TRUTH) + DAY_MS


def months_of_truth(request: HttpRequest) -> HttpResponse:
    """Answer a month of New York as the vendor does: newest first, stamped with its wall time."""
    local = {
        f"{from_ms(at).replace(tzinfo=UTC).astimezone(ZoneInfo(NEW_YORK)):%Y-%m-%d %H:%M:%S}": price
        for at, price in TRUTH.items()
    }
    rows = {at: p for at, p in local.items() if at.startswith(str(request.params["month"]))}
    return answer(series(rows, "30min", **{"Time Zone": "US/Eastern"}))


@settings(max_examples=examples(25), derandomize=True, deadline=None)
@given(st.integers(0, 76), st.integers(1, 80 * 24))
def test_bars_joined_from_months_are_the_true_ones(day: int, hours: int) -> None:
    start = FIRST + day * DAY_MS + hours * MINUTE_MS
    end = min(start + hours * HOUR_MS, LAST)
    vendor, transport = av(*[months_of_truth] * 5)
    expected = {at: p for at, p in TRUTH.items() if start <= at < end}
    asked = query("30m", start, max(end, start + MINUTE_MS), AAPL)
    if not expected:
        with pytest.raises(NoDataError):
            vendor.fetch(asked)
        return
    got = vendor.fetch(asked)
    assert dict(zip(got.table.stamps.tolist(), got.table.close.tolist(), strict=True)) == expected
    months = [r.params["month"] for r in transport.asked]
    assert len(set(months)) == len(months)


def test_the_declared_capabilities_are_raw_prices_and_separate_actions() -> None:
    caps = av()[0].capabilities
    assert (caps.adjustment, caps.actions, caps.tells_actions) == ("raw", False, True)
    kind = caps.kind(AAPL)
    assert (kind.session, kind.anchor, kind.unit) == ("regular", "session", "USD")


# --- recorded answers --------------------------------------------------------------------------


def _meant(recording: str) -> Instrument:
    """Return the share that a recording is of."""
    return replace(AAPL, symbol="MSFT") if "MSFT" in recording else AAPL


@needs_reference
@pytest.mark.parametrize("name", BARS)
def test_recorded_bars_are_parsed_completely_and_in_order(name: str) -> None:
    timeframe, count, first, last = BARS[name]
    recording, response = recorded("alpha_vantage", name)
    start, end = parse_iso(first), parse_iso(last) + DAY_MS
    asked = query(timeframe, start, end, _meant(name))
    vendor, _ = av(response, *[answer(series({}, "", **{"Time Zone": "US/Eastern"}))] * 2)
    assert vendor.classify(response) is None
    good = checked(vendor.fetch(asked), asked)
    assert (len(good.good), good.bad, good.nulls) == (count, (), 0)
    assert (good.good.stamps[0], good.good.stamps[-1]) == (start, parse_iso(last))
    assert f"{good.good.close[-1]:.4f}" in json.dumps(recording["body"])


@needs_reference
def test_a_recorded_day_equals_the_values_written_by_hand() -> None:
    _, response = recorded("alpha_vantage", "daily-adjusted-MSFT-2018-05")
    asked = query("1d", "2018-05-24", "2018-05-25", _meant("MSFT"))
    (bar,) = av()[0].parse_bars(response, asked).bars
    stamp = parse_iso("2018-05-24")
    assert bar == (stamp, 98.725, 98.94, 96.81, 98.31, 26649287.0, 98.31)


@needs_reference
@pytest.mark.parametrize("name", ERRORS)
def test_a_recorded_error_becomes_its_typed_error(name: str) -> None:
    _, response = recorded("alpha_vantage", name)
    assert type(av()[0].classify(response)) is ERRORS[name]


@pytest.mark.parametrize("zone", ["Europe", "../../etc/passwd", "Nowhere/Land", "", 5, True, []])
def test_an_answer_with_an_unknown_time_zone_is_unreadable(zone: Any) -> None:
    body = series({"2024-12-02": 10.0})
    body["Meta Data"]["5. Time Zone"] = zone
    vendor, _ = av(answer(body))
    with pytest.raises(ResponseFormatError):
        vendor.fetch(query("1d", "2024-12-02", "2024-12-03", AAPL))


@pytest.mark.parametrize(
    "title, meta, is_ours",
    [
        ("Daily", {}, True), ("Weekly", {}, False), ("5min", {}, False),
        ("Daily", {"Interval": "5min"}, False),
    ],
)  # fmt: skip
def test_bars_of_another_timeframe_than_requested_are_unreadable(
    title: str, meta: dict[str, str], is_ours: bool
) -> None:
    vendor, _ = av(answer(series({"2024-03-04": 10.0}, title, Symbol="AAPL", **meta)))
    asked = query("1d", "2024-03-04", "2024-03-05", AAPL)
    if is_ours:
        assert len(vendor.fetch(asked).table) == 1
    else:
        with pytest.raises(ResponseFormatError, match="not '1d'"):
            vendor.fetch(asked)

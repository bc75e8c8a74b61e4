from __future__ import annotations

import math
from dataclasses import replace
from datetime import date
from email.utils import formatdate
from typing import Any

import pytest

from src.data.core.model.identity.instrument import AssetClass, Instrument
from src.data.core.model.identity.kind import Kind
from src.data.core.model.market.actions import Action, current
from src.data.core.model.market.bars import Bar
from src.data.core.model.request.capabilities import FetchQuery, Limits
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, day_ms, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.prices.quality import check
from src.data.core.vendors.yahoo.bars import YahooDataDownloader
from src.data.errors import (
    AllProvidersFailedError,
    Attempt,
    AuthenticationError,
    CapabilityError,
    DataError,
    NoDataError,
    RateLimitedError,
    ResponseFormatError,
    SymbolNotFoundError,
    UnavailableError,
)
from tests.core.net.scripted import NOW_MS, ScriptedTransport, answer, sender_over
from tests.core.vendors.acme import query, recorded
from tests.reference import needs_reference

AAPL = Instrument("AAPL", "stock", "XNYS", "America/New_York", quote="USD")
OPEN = 1704205800  # 2024-01-02 09:30 in New York
NY: dict[str, Any] = {
    "currency": "USD", "exchangeTimezoneName": "America/New_York", "regularMarketTime": OPEN,
    "currentTradingPeriod": {"regular": {"start": OPEN, "end": OPEN + 23400}},
}  # fmt: skip

POUND = Instrument("GBPUSD", "forex", "FX", "Europe/London", quote="USD",
                   spellings={"yahoo": "GBPUSD=X"})  # fmt: skip
LONDON = NY | {
    "exchangeTimezoneName": "Europe/London",
    "currentTradingPeriod": {"regular": {"start": 1717542000, "end": 1717628340}},
}  # 2024-06-05 00:00 to 23:59 in London
SUMMER = NY | {"currentTradingPeriod": {"regular": {"start": 1717594200, "end": 1717617600}}}

CHARTS: dict[str, tuple[str, int, str, str, str]] = {
    # recording: timeframe, rows, first and last stamp, unit
    "chart-0P0000XTS7-1d-fund-2024-09": ("1d", 2, "2024-09-12", "2024-09-13", "USD"),
    "chart-AAPL-1d-2020-08-31-split-4for1-dividend": ("1d", 49, "2020-08-31", "2020-11-06", "USD"),
    "chart-AAPL-1d-no-range": ("1d", 1, "2022-02-22", "2022-02-22", "USD"),
    "chart-ALL.AX-1d-last-row-forming-off-grid": ("1d", 64, "2021-10-13", "2022-01-13", "AUD"),
    "chart-BTC-USD-1d-2020-01": ("1d", 3, "2020-01-01", "2020-01-03", "USD"),
    "chart-GC=F-1d-2020-01": ("1d", 1, "2020-01-02", "2020-01-02", "USD"),
    "chart-GOOG-1d-2020-01": ("1d", 1, "2020-01-02", "2020-01-02", "USD"),
    "chart-HYDR.ME-5m-1d-null-row-and-off-grid-last-row": (
        "5m", 10, "2020-07-13T14:50:00", "2020-07-13T15:30:24", "RUB",
    ),
    "chart-MSFT-1d-2021-02-to-2022-01-dividends": ("1d", 140, "2021-02-01", "2021-08-19", "USD"),
    "chart-OCDO.L-1d-2020-01-pence": ("1d", 1, "2020-01-02", "2020-01-02", "GBp"),
    "chart-TSLA-1d-dividends-none": ("1d", 120, "2010-06-29", "2010-12-16", "USD"),
    "chart-WSKT.JK-1d-2020-01": ("1d", 1, "2020-01-02", "2020-01-02", "IDR"),
    "chart-WSU.DE-1d-2023-08": ("1d", 3, "2023-08-04", "2023-08-08", "EUR"),
}  # fmt: skip
ZONES = {
    "AX": "Australia/Sydney", "ME": "Europe/Moscow", "L": "Europe/London", "JK": "Asia/Jakarta",
    "DE": "Europe/Berlin",
}  # fmt: skip
OTHERS: dict[str, AssetClass] = {"BTC-USD": "crypto", "GC=F": "future"}
EMPTY = {"chart-AAPL-1m-weekend-empty", "chart-AAPL-5d-no-timestamp"}
# Closes alone: its keeper dropped the other columns. That is not an answer in bars.
UNREADABLE = {"chart-MUV2.DE-1d-2017-11-to-2018-05"}
ERRORS: dict[str, Any] = {
    "chart-error-404-not-found-delisted": SymbolNotFoundError,
    "error-1d-over-100-years": CapabilityError,
    "error-422-1h-range-over-730-days-old": CapabilityError,
    "error-422-1m-range-over-30-days-old": CapabilityError,
    "error-429-too-many-requests": RateLimitedError,
}


def yahoo(*answers: Any) -> tuple[YahooDataDownloader, ScriptedTransport]:
    transport = ScriptedTransport(*answers)
    return YahooDataDownloader(sender=sender_over(transport)), transport


def chart(labels: list[int], meta: dict[str, Any] = NY, **more: Any) -> HttpResponse:
    """Make an answer; the n-th bar opens at 10 + n."""
    prices = [10.0 + n for n in range(len(labels))]
    quote = {
        "open": prices, "high": [p + 1 for p in prices], "low": [p - 1 for p in prices],
        "close": prices, "volume": [100] * len(labels),
    }  # fmt: skip
    quote.update(more.pop("quote", {}))
    result = {"meta": meta, "timestamp": labels, "indicators": {"quote": [quote]}} | more
    return answer({"chart": {"result": [result], "error": None}})


def dated(second: int) -> dict[str, str]:
    """Return the header with the vendor's time."""
    return {"date": formatdate(second, usegmt=True)}


def stamps(response: HttpResponse, asked: FetchQuery) -> list[int]:
    return [b.stamp_ms for b in yahoo()[0].parse_bars(response, asked).bars]


def test_a_request_for_minutes_covers_exactly_the_span() -> None:
    vendor, _ = yahoo()
    asked = vendor.bars_request(query("5m", OPEN * 1000, (OPEN + 600) * 1000 + 1, AAPL), None)
    assert asked.url == "https://query1.finance.yahoo.com/v8/finance/chart/AAPL"
    assert asked.params == {
        "interval": "5m", "period1": OPEN, "period2": OPEN + 601, "events": "div|split|capitalGains",
        "includePrePost": "false",
    }  # fmt: skip


def test_each_request_to_yahoo_has_a_browsers_user_agent() -> None:
    vendor, transport = yahoo(chart([]))
    vendor.send(HttpRequest("https://query1.finance.yahoo.com/x", headers={"Accept": "text/html"}))
    sent = transport.asked[0].headers
    assert "Mozilla" in sent["User-Agent"]
    assert sent["Accept"] == "text/html"


@pytest.mark.parametrize(
    "zone, label",
    [
        ("Pacific/Auckland", "2024-01-01T21:00:00Z"),  # opens 10:00 the day before in UTC
        ("America/New_York", "2024-01-02T14:30:00Z"),
        ("Europe/London", "2024-01-02T00:00:00Z"),
        ("Pacific/Honolulu", "2024-01-03T02:00:00Z"),
    ],
)
@pytest.mark.parametrize("end", ["2024-01-03", "2024-01-02T01:20:34Z"])
def test_a_request_for_days_covers_every_label_of_its_dates(
    zone: str, label: str, end: str
) -> None:
    vendor, _ = yahoo()
    asked = query("1d", "2024-01-02", end, AAPL)
    params = vendor.bars_request(asked, None).params
    second = parse_iso(label) // 1000
    assert int(params["period1"]) <= second < int(params["period2"])
    answered = chart([second], NY | {"exchangeTimezoneName": zone})
    assert stamps(answered, asked) == [parse_iso("2024-01-02")]


@pytest.mark.parametrize(
    "label, theirs", [("1h", "1h"), ("90m", "90m"), ("1w", "1wk"), ("1M", "1mo")]
)
def test_timeframes_are_sent_in_yahoos_spelling(label: str, theirs: str) -> None:
    vendor, _ = yahoo()
    assert vendor.bars_request(query(label, 0, DAY_MS, AAPL), None).params["interval"] == theirs


@pytest.mark.parametrize(
    "symbol, spelled", [("^VIX", "%5EVIX"), ("EURUSD=X", "EURUSD%3DX"), ("BTC-USD", "BTC-USD")]
)
def test_symbols_are_spelled_and_quoted(symbol: str, spelled: str) -> None:
    vendor, _ = yahoo()
    who = Instrument("OURS", "index", spellings={"yahoo": symbol})
    assert vendor.bars_request(query("1d", 0, 1, who), None).url.endswith(f"/chart/{spelled}")


def test_a_long_span_of_minutes_is_requested_week_by_week() -> None:
    start = NOW_MS - 20 * DAY_MS
    vendor, transport = yahoo(*(chart([start // 1000 + 60 * i]) for i in range(3)))
    vendor.fetch(query("1m", start, NOW_MS, AAPL))
    lengths = [int(r.params["period2"]) - int(r.params["period1"]) for r in transport.asked]
    assert lengths == [7 * 86400, 7 * 86400, 6 * 86400]


def test_bars_older_than_yahoos_history_are_not_requested() -> None:
    vendor, transport = yahoo()
    with pytest.raises(CapabilityError, match="1m bars only for the last 29 days"):
        vendor.fetch(query("1m", NOW_MS - 40 * DAY_MS, NOW_MS, AAPL))
    assert transport.asked == []


@pytest.mark.parametrize(
    "timeframe, label, stamp",
    [
        ("1d", "2024-07-03T13:30:00Z", "2024-07-03"),
        ("1w", "2024-07-01T04:00:00Z", "2024-07-01"),
        ("1w", "2024-07-03T19:59:58Z", "2024-07-01"),  # the running week
        ("1M", "2024-07-01T04:00:00Z", "2024-07-01"),
        ("1M", "2024-07-31T19:59:58Z", "2024-07-01"),  # the running month
        ("1h", "2024-07-03T13:30:00Z", "2024-07-03T13:30:00"),
    ],
)
def test_times_of_a_chart_become_stamps(timeframe: str, label: str, stamp: str) -> None:
    asked = query(timeframe, "2024-06-03", "2024-08-05", AAPL)
    assert stamps(chart([parse_iso(label) // 1000]), asked) == [parse_iso(stamp)]


@pytest.mark.parametrize(
    "timeframe, after_open, opens",
    [("5m", 1234, 1200), ("1h", 3599, 0), ("1h", 3600, 3600), ("90m", 6000, 5400), ("1m", 61, 60)],
)
def test_the_forming_bar_is_moved_onto_the_grid_of_its_session(
    timeframe: str, after_open: int, opens: int
) -> None:
    asked = query(timeframe, OPEN * 1000, (OPEN + 23400) * 1000, AAPL)
    answered = chart([OPEN + after_open])
    running = replace(answered, headers=dated(OPEN + after_open))
    assert stamps(running, asked) == [(OPEN + opens) * 1000]
    undated = replace(asked, now_ms=(OPEN + after_open) * 1000)
    assert stamps(answered, undated) == [(OPEN + opens) * 1000]


@pytest.mark.parametrize(
    "instrument, now, label",
    [
        (POUND, "2024-06-05T13:45:00Z", "2024-06-05T12:28:14Z"),
        (POUND, "2024-06-05T13:00:00Z", "2024-06-05T12:59:59Z"),
        (AAPL, "2024-06-05T15:45:00Z", "2024-06-05T14:28:14Z"),
        (AAPL, "2024-06-05T20:00:05Z", "2024-06-05T19:59:58Z"),
    ],
)
def test_a_late_label_is_not_moved_onto_a_bar_that_has_closed(
    instrument: Instrument, now: str, label: str
) -> None:
    """The hour of the bar is over by the vendor's date, whatever our clock shows."""
    day = parse_iso("2024-06-05T00:00:00Z")
    for ours in (parse_iso(label), parse_iso(now), day + 40 * DAY_MS):
        asked = query("1h", day, day + DAY_MS, instrument, now_ms=ours)
        at = parse_iso(label) // 1000
        meta = LONDON if instrument is POUND else SUMMER
        answered = chart([at - 3600, at], meta)
        late = replace(answered, headers=dated(parse_iso(now) // 1000))
        assert stamps(late, asked) == [(at - 3600) * 1000, at * 1000]


def test_no_bar_is_moved_outside_of_the_running_session() -> None:
    asked = query("1h", (OPEN - 99_999) * 1000, (OPEN + 99_999) * 1000, AAPL)
    for label in (OPEN - 1, OPEN + 23400, OPEN + 23411):
        assert stamps(chart([label]), asked) == [label * 1000]


def test_only_the_last_row_can_be_the_forming_bar() -> None:
    asked = query("1h", OPEN * 1000, (OPEN + 23400) * 1000, AAPL)
    odd = [OPEN, OPEN + 17, OPEN + 3600]
    assert stamps(chart(odd), asked) == [second * 1000 for second in odd]


def test_the_last_trade_does_not_replace_the_bar_it_belongs_to() -> None:
    """Only the real bar is returned: the other row would contradict it, even hours later."""
    asked = query("5m", OPEN * 1000, (OPEN + 600) * 1000, AAPL)
    bars = yahoo()[0].parse_bars(chart([OPEN, OPEN + 300, OPEN + 337]), asked).bars
    assert [(b.stamp_ms // 1000 - OPEN, b.open) for b in bars] == [(0, 10), (300, 11)]


@pytest.mark.parametrize("timeframe", ["5m", "1d", "1w"])
def test_a_bar_sent_twice_is_not_taken_for_a_last_trade(timeframe: str) -> None:
    """Both rows are returned: if they differ, neither is trusted."""
    asked = query(timeframe, (OPEN - 8 * 86_400) * 1000, (OPEN + 86_400) * 1000, AAPL)
    bars = yahoo()[0].parse_bars(chart([OPEN, OPEN]), asked).bars
    assert [(bar.stamp_ms, bar.open) for bar in bars] == [
        (bars[0].stamp_ms, 10),
        (bars[0].stamp_ms, 11),
    ]


@pytest.mark.parametrize("after_s, volume, kept", [(0, 0, 1), (1, None, 1), (0, 7, 2), (300, 0, 2)])
def test_the_last_price_after_the_close_is_not_read_as_a_bar(
    after_s: int, volume: Any, kept: int
) -> None:
    asked = query("5m", OPEN * 1000, (OPEN + 30_000) * 1000, AAPL)
    flat = {name: [5.0, 6.0] for name in ("open", "high", "low", "close")} | {"volume": [9, volume]}
    labels = [OPEN + 23_100, OPEN + 23_400 + after_s]
    bars = yahoo()[0].parse_bars(chart(labels, quote=flat), asked).bars
    assert len(bars) == kept and bars[0].close == 5


def test_a_null_row_is_a_row_of_nan() -> None:
    asked = query("5m", OPEN * 1000, (OPEN + 600) * 1000, AAPL)
    nulls = {name: [5.0, None] for name in ("open", "high", "low", "close", "volume")}
    bars = yahoo()[0].parse_bars(chart([OPEN, OPEN + 300], quote=nulls), asked).bars
    assert bars[0].close == 5.0
    assert all(math.isnan(value) for value in bars[1][1:])


def test_bars_outside_of_the_span_in_the_margin_are_left_out() -> None:
    asked = query("1d", "2024-01-02", "2024-01-03", AAPL)
    labels = [OPEN - 4 * 86400, OPEN, OPEN + 86400]  # Friday before, the day, the day after
    assert stamps(chart(labels[1:]), asked) == [parse_iso("2024-01-02")]
    vendor, _ = yahoo(chart([OPEN + 86400]))
    with pytest.raises(NoDataError):
        vendor.fetch(asked)


def test_rows_far_from_the_span_are_returned_to_be_checked() -> None:
    asked = query("1d", "2024-01-02", "2024-01-03", AAPL)
    assert stamps(chart([OPEN - 400 * 86400]), asked) == [parse_iso("2022-11-28")]


def test_daily_bars_have_adjusted_closes() -> None:
    adjusted = {"quote": [{}], "adjclose": [{"adjclose": [9.5, None]}]}
    answered = chart([OPEN, OPEN + 86400])
    payload = answered.json()
    payload["chart"]["result"][0]["indicators"]["adjclose"] = adjusted["adjclose"]
    bars = (
        yahoo()[0].parse_bars(answer(payload), query("1d", "2024-01-02", "2024-01-04", AAPL)).bars
    )
    assert bars[0].adj_close == 9.5
    assert math.isnan(bars[1].adj_close)


@pytest.mark.parametrize("place", [3, 4])
def test_weeks_of_a_fund_with_capital_gains_are_complete(place: int) -> None:
    """The day of a payment can be a row without prices inside its week, or at the end."""
    paid = OPEN + (16 if place == 3 else 22) * 86400
    labels = [OPEN - 86400 + 7 * 86400 * n for n in range(4)]
    prices: list[float | None] = [10.0, 11.0, 12.0, 13.0]
    labels.insert(place, paid)
    prices.insert(place, None)
    columns = dict.fromkeys(("open", "high", "low", "close"), prices)
    volume = [None if price is None else 0 for price in prices]
    events = {
        "capitalGains": {str(paid): {"amount": 1.25, "date": paid}},
        "dividends": {str(paid): {"amount": 0.5, "date": paid}},
    }
    meta = NY | {"symbol": "VFINX"}
    vendor, _ = yahoo(chart(labels, meta, quote={**columns, "volume": volume}, events=events))
    fund = replace(AAPL, symbol="VFINX")
    asked = query("1w", "2024-01-01", "2024-01-29", fund)
    got = vendor.fetch(asked)
    checked = check(got.table, asked.span, timeframe=asked.timeframe, now_ms=asked.now_ms)
    weeks = [day_ms(date(2024, 1, day)) for day in (1, 8, 15, 22)]
    assert checked.good.stamps.tolist() == weeks
    assert checked.good.close.tolist() == [10, 11, 12, 13]
    assert (checked.bad, checked.duplicates) == ((), 0)
    # The gain is larger than the dividend, so it is paid in addition to it.
    paid_out = [(one.type, one.amount, one.gain) for one in got.actions or ()]
    assert paid_out == [("dividend", 1.75, 1.25)]


@pytest.mark.parametrize(
    ("dividends", "gains", "expected"),
    [
        # VWILX on 2025-12-17: Yahoo's dividend is the sum of 1.437 and the gain.
        ([7.857], [6.42], (7.857, 6.42, ())),
        ([1.437], [], (1.437, 0.0, ())),
        ([], [6.42], (6.42, 6.42, ())),
        ([1.437], [6.42], (7.857, 6.42, (1.437, 6.42))),
        ([6.419], [6.42], (6.419, 6.419, ())),
        ([1.437, 6.42], [6.42], (7.857, 6.42, (1.437, 6.42))),
        ([7.857], [6.0, 0.42], (7.857, 6.42, ())),
        ([0.5], [0.0], (0.5, 0.0, ())),
    ],
)
def test_a_gain_is_counted_once_in_the_amount_of_its_day(
    dividends: list[float], gains: list[float], expected: tuple[float, float, tuple[float, ...]]
) -> None:
    events = {
        name: {f"{OPEN + at}": {"amount": value, "date": OPEN + at} for at, value in enumerate(values)}
        for name, values in (("dividends", dividends), ("capitalGains", gains))
    }  # fmt: skip
    page = yahoo()[0].parse_bars(
        chart([OPEN], events=events), query("1d", "2024-01-02", "2024-01-03", AAPL)
    )
    (paid,) = current(page.actions or ())
    assert paid.amount == pytest.approx(expected[0]) and paid.gain == pytest.approx(expected[1])
    assert (paid.ex_date, paid.source, paid.parts) == (date(2024, 1, 2), "yahoo", expected[2])


@pytest.mark.parametrize("gain", [-1.0, "1e400", None])
def test_an_impossible_gain_makes_the_actions_unknown(gain: Any) -> None:
    events = {
        "dividends": {"1": {"amount": 2.0, "date": OPEN}},
        "capitalGains": {"1": {"amount": gain, "date": OPEN}},
    }
    page = yahoo()[0].parse_bars(
        chart([OPEN], events=events), query("1d", "2024-01-02", "2024-01-03", AAPL)
    )
    assert page.actions is None and len(page.bars) == 1


def test_a_chart_without_bars_can_contain_actions() -> None:
    events = {"splits": {"1": {"date": OPEN, "numerator": 3, "denominator": 2}}}
    result = {"meta": NY, "indicators": {"quote": [{}]}, "events": events}
    page = yahoo()[0].parse_bars(
        answer({"chart": {"result": [result]}}), query("1d", "2024-01-02", "2024-01-03", AAPL)
    )
    assert page.bars == ()
    assert [(a.type, a.ex_date, a.numerator, a.denominator) for a in page.actions] == [
        ("split", date(2024, 1, 2), 3.0, 2.0)
    ]


def test_a_request_for_only_actions_is_one_chart_of_days() -> None:
    events = {
        "dividends": {
            str(OPEN): {"date": OPEN, "amount": 0.24},
            str(OPEN + 86400): {"date": OPEN + 86400, "amount": 0.25},
        }
    }
    vendor, transport = yahoo(chart([OPEN], events=events))
    span = Span(day_ms(date(2024, 1, 2)), day_ms(date(2024, 1, 3)))
    assert vendor.fetch_actions(AAPL, span, NOW_MS) == [
        Action(
            date(2024, 1, 2),
            "dividend",
            OPEN * 1000,
            amount=0.24,
            source="yahoo",
            fetched_at=NOW_MS,
        )
    ]
    assert transport.asked[0].params["interval"] == "1d"


@pytest.mark.parametrize("is_apart", [False, True], ids=["with bars", "apart"])
@pytest.mark.parametrize(
    "splits, amounts, combined, parts",
    [
        ((2, 3), (0.5, 0.3), 6, (0.5, 0.3)), ((2, 3), (0.5, 0.5), 6, (0.5, 0.5)),
        # A ratio that a second report repeats or rounds is that of one split.
        ((3, 3.001), (0.5, 0.3, 0.5), 3, (0.5, 0.3, 0.5)),
    ],
)  # fmt: skip
def test_several_events_of_one_day_at_different_seconds_are_all_applied(
    splits: tuple[float, ...], amounts: tuple[float, ...], combined: float,
    parts: tuple[float, ...], is_apart: bool,
) -> None:  # fmt: skip
    events = {
        "splits": {
            str(at): {"date": at, "numerator": new, "denominator": 1, "splitRatio": f"{new}:1"}
            for at, new in enumerate(splits, OPEN)
        },
        "dividends": {
            str(at): {"date": at, "amount": paid} for at, paid in enumerate(amounts, OPEN)
        },
    }
    vendor, _ = yahoo(chart([OPEN], events=events))
    asked = query("1d", "2024-01-02", "2024-01-03", AAPL)
    if is_apart:
        found = vendor.fetch_actions(AAPL, asked.span, asked.now_ms)
    else:
        found = vendor.fetch(asked).actions or ()
    dividend, split = current(found)
    assert split.ratio == combined
    assert (dividend.parts, dividend.amount) == (parts, pytest.approx(sum(parts)))


@pytest.mark.parametrize("paid_in", ["USD", "", "EUR", "GBp"])
def test_a_dividend_has_the_currency_that_the_chart_names(paid_in: str) -> None:
    paid = {"date": OPEN, "amount": 0.24, "currency": paid_in}
    vendor, _ = yahoo(chart([OPEN], events={"dividends": {str(OPEN): paid}}))
    got = vendor.fetch(query("1d", "2024-01-02", "2024-01-03", AAPL))
    assert got.actions is not None
    assert [(a.amount, a.currency) for a in got.actions] == [(0.24, paid_in)]


@pytest.mark.parametrize(
    "first, end, now, is_proof",
    [
        # A weekend and New Year's Day; the session of the 2nd closes at 21:00.
        ("2023-12-30", "2024-01-02", "2024-01-05T00:00", True),
        ("2024-01-02", "2024-01-03", "2024-01-02T21:59", True),
        ("2024-01-02", "2024-01-03", "2024-01-02T22:00", False),
        ("2023-12-30", "2024-01-03", "2024-01-02T22:00", False),
        ("2023-06-01", "2024-01-02", "2024-01-05T00:00", False),
    ],
)
def test_a_chart_without_a_day_rules_out_splits_only_if_no_session_has_closed(
    first: str, end: str, now: str, is_proof: bool
) -> None:
    empty = {"chart": {"result": [{"meta": NY, "indicators": {"quote": [{}]}}]}}
    span = Span(parse_iso(first), parse_iso(end))
    vendor, _ = yahoo(answer(empty))
    if is_proof:
        assert vendor.fetch_actions(AAPL, span, parse_iso(now)) == []
    else:
        with pytest.raises(NoDataError, match="no splits or dividends"):
            vendor.fetch_actions(AAPL, span, parse_iso(now))


@pytest.mark.parametrize(
    "status, description, kind",
    [
        (404, "No data found, symbol may be delisted", SymbolNotFoundError),
        (200, "No data found, symbol may be delisted", SymbolNotFoundError),
        (422, "1m data not available for startTime=1", CapabilityError),
        (400, "Data doesn't exist for startDate = 1, endDate = 2", NoDataError),
        (400, "Invalid input - interval=7m is not supported", CapabilityError),
        (401, "Invalid Crumb", AuthenticationError),
        (429, "Too Many Requests", RateLimitedError),
        (500, "internal-error", UnavailableError),
    ],
)
def test_error_responses_become_typed_errors(status: int, description: str, kind: Any) -> None:
    body = {"chart": {"result": None, "error": {"code": "X", "description": description}}}
    error = yahoo()[0].classify(answer(body, status))
    assert type(error) is kind


@pytest.mark.parametrize("status", [401, 429, 404, 503])
@pytest.mark.parametrize("is_installed", [True, False])
def test_a_rejection_without_the_extra_names_the_command_that_installs_it(
    status: int, is_installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = object() if is_installed else None
    monkeypatch.setattr("src.data.core.vendors.yahoo.bars.find_spec", lambda _: spec)
    vendor, _ = yahoo(*[answer(b"Edge: no", status, Retry_After="900")] * 9)
    is_named = status in (401, 429) and not is_installed
    for _ in range(2):  # the second time, a pause that Yahoo demanded is still running
        with pytest.raises(DataError) as caught:
            vendor.send(HttpRequest("https://query1.finance.yahoo.com/x"))
        failed = Attempt("yahoo", "failed", error=caught.value)
        answered = AllProvidersFailedError(f"{caught.value}", attempts=[failed], symbol="AAPL")
        for text in (str(caught.value), caught.value.brief, str(answered), answered.brief):
            assert ("pip install 'onetape[yahoo]'" in text) is is_named, text
        assert not is_named or "key" not in str(caught.value), "Yahoo has no keys"


def test_a_limit_of_our_own_says_nothing_about_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.data.core.vendors.yahoo.bars.find_spec", lambda _: None)
    sender = sender_over(ScriptedTransport(chart([])), limits=Limits(per_day=1))
    vendor = YahooDataDownloader(sender=sender)
    vendor.send(HttpRequest("https://query1.finance.yahoo.com/x"))
    with pytest.raises(RateLimitedError) as caught:
        vendor.send(HttpRequest("https://query1.finance.yahoo.com/x"))
    assert "onetape[yahoo]" not in str(caught.value) + caught.value.brief


@pytest.mark.parametrize("body", [b"Edge: Too Many Requests", b"<html>", b'{"chart": 1}', b""])
def test_errors_without_a_message_are_classified_by_status(body: bytes) -> None:
    assert type(yahoo()[0].classify(answer(body, 429))) is RateLimitedError
    assert type(yahoo()[0].classify(answer(body, 503))) is UnavailableError
    assert yahoo()[0].classify(answer(body)) is None


@pytest.mark.parametrize(
    "payload",
    [
        {}, {"chart": {"result": []}}, {"chart": {"result": [{}]}},
        {"chart": {"result": [{"meta": {"exchangeTimezoneName": "Mars/Base"}}]}},
        {"chart": {"result": [{"meta": NY, "timestamp": [1], "indicators": {"quote": [{}]}}]}},
        {"chart": {"result": [{"meta": NY, "timestamp": ["x"], "indicators": {"quote": [{}]}}]}},
        {"chart": {"result": [{"meta": NY, "timestamp": [10**30], "indicators": {}}]}},
    ],
)  # fmt: skip
def test_a_response_in_another_format_is_unreadable(payload: Any) -> None:
    vendor, _ = yahoo(answer(payload))
    with pytest.raises(ResponseFormatError):
        vendor.fetch(query("1d", 0, DAY_MS, AAPL))


def test_columns_of_unequal_length_are_unreadable() -> None:
    vendor, _ = yahoo(chart([OPEN, OPEN + 60], quote={"close": [1.0]}))
    with pytest.raises(ResponseFormatError):
        vendor.fetch(query("5m", OPEN * 1000, OPEN * 1000 + HOUR_MS, AAPL, now_ms=OPEN * 1000))


def test_the_declared_kinds_have_their_session_unit_and_venue() -> None:
    caps = yahoo()[0].capabilities
    assert caps.kind(AAPL) == Kind("regular", "session", "consolidated", "USD", "shares")
    assert caps.kind(Instrument("BTC-USD", "crypto", quote="USD")).venue == "aggregate"
    assert caps.kind(Instrument("EURUSD=X", "forex", quote="USD")).session == "24h"
    assert (caps.adjustment, caps.actions) == ("split", True)


def test_days_are_dense_and_minutes_are_not() -> None:
    vendor, _ = yahoo()
    assert vendor.is_dense(query("1d", 0, 1).timeframe)
    assert not vendor.is_dense(query("1m", 0, 1).timeframe)


def test_get_ohlcv_batch_selects_columns_by_name() -> None:
    vendor, _ = yahoo(chart([OPEN]), chart([OPEN + 86400]))
    got = vendor.get_ohlcv_batch(["AAPL", "MSFT"], "1d", date(2024, 1, 2), date(2024, 1, 3))
    assert list(got) == ["AAPL", "MSFT"]
    assert list(got["MSFT"].columns) == ["timestamp", "open", "high", "low", "close", "volume"]
    assert got["AAPL"]["high"].tolist() == [11.0]


# --- recorded answers --------------------------------------------------------------------------


def whole(timeframe: str, response: HttpResponse) -> FetchQuery:
    return query(
        timeframe, "2000-01-01", "2030-01-01", meant(response), now_ms=parse_iso("2030-01-01")
    )


def meant(response: HttpResponse) -> Instrument:
    """Return the instrument that a recorded chart is of."""
    (chart,) = response.json()["chart"]["result"]
    symbol = chart["meta"]["symbol"]
    other = OTHERS.get(symbol)
    zone = ZONES.get(symbol.partition(".")[2], "America/New_York")
    return Instrument(symbol, other) if other else replace(AAPL, symbol=symbol, timezone=zone)


@needs_reference
@pytest.mark.parametrize("name", CHARTS)
def test_recorded_charts_are_parsed_completely(name: str) -> None:
    recording, response = recorded("yahoo", name)
    timeframe, count, first, last, unit = CHARTS[name]
    page = yahoo()[0].parse_bars(response, whole(timeframe, response))
    raw = recording["body"]["chart"]["result"][0]["indicators"]
    assert len(page.bars) == count
    assert page.unit == unit
    found = [b.stamp_ms for b in page.bars]
    assert (found[0], found[-1]) == (parse_iso(first), parse_iso(last))
    closes = sorted(v for v in raw["quote"][0]["close"] if v is not None)
    assert sorted(b.close for b in page.bars if not math.isnan(b.close)) == closes
    if timeframe == "1d":
        assert [b.adj_close for b in page.bars] == raw["adjclose"][0]["adjclose"]
        assert all(stamp % DAY_MS == 0 for stamp in found)


@needs_reference
@pytest.mark.parametrize("name", CHARTS)
def test_recorded_charts_pass_the_check_of_bars(name: str) -> None:
    _, response = recorded("yahoo", name)
    vendor, _ = yahoo(response)
    timeframe, count, _, _, unit = CHARTS[name]
    asked = whole(timeframe, response)
    if timeframe != "1d":
        day = parse_iso("2020-07-13")
        asked = query(timeframe, day, day + DAY_MS, meant(response), now_ms=day + DAY_MS)
    got = vendor.fetch(asked)
    checked = check(got.table, asked.span, timeframe=asked.timeframe, now_ms=asked.now_ms)
    assert (len(checked.good) + checked.nulls, checked.bad) == (count, ())
    assert got.kind.unit == unit


@needs_reference
def test_the_recorded_split_and_dividend_are_read() -> None:
    _, response = recorded("yahoo", "chart-AAPL-1d-2020-08-31-split-4for1-dividend")
    split, dividend = yahoo()[0].parse_bars(response, whole("1d", response)).actions
    assert (split.type, split.ex_date, split.ratio) == ("split", date(2020, 8, 31), 4)
    assert split.ex_at == parse_iso("2020-08-31T13:30:00Z")
    assert (dividend.type, dividend.ex_date, dividend.amount) == (
        "dividend",
        date(2020, 11, 6),
        0.205,
    )


@needs_reference
def test_recorded_dividends_become_actions() -> None:
    _, response = recorded("yahoo", "chart-MSFT-1d-2021-02-to-2022-01-dividends")
    page = yahoo()[0].parse_bars(response, whole("1d", response))
    assert [(a.ex_date.isoformat(), a.amount) for a in page.actions] == [
        ("2021-02-17", 0.56), ("2021-05-19", 0.56), ("2021-08-18", 0.56), ("2021-11-17", 0.62),
    ]  # fmt: skip
    _, never = recorded("yahoo", "chart-TSLA-1d-dividends-none")
    assert yahoo()[0].parse_bars(never, whole("1d", never)).actions == []


@needs_reference
def test_the_recorded_forming_bar_is_moved_onto_the_grid() -> None:
    _, response = recorded("yahoo", "chart-HYDR.ME-5m-1d-null-row-and-off-grid-last-row")
    day = parse_iso("2020-07-13")
    last_trade = parse_iso("2020-07-13T15:30:24Z")
    asked = query("5m", day, day + DAY_MS, meant(response), now_ms=last_trade)
    bars = yahoo()[0].parse_bars(response, asked).bars
    assert bars[-1].stamp_ms == bars[-2].stamp_ms == parse_iso("2020-07-13T15:30:00Z")
    running = [b for b in bars[-2:] if not math.isnan(b.close)]
    price = 0.7638999819755554
    assert [b[1:6] for b in running] == [Bar(0, price, price, price, price, 0.0)[1:6]]


@needs_reference
@pytest.mark.parametrize("name", sorted(EMPTY))
def test_a_recorded_empty_chart_raises_no_data(name: str) -> None:
    _, response = recorded("yahoo", name)
    vendor, _ = yahoo(response)
    assert vendor.classify(response) is None
    timeframe = "1m" if "-1m-" in name else "1d"
    with pytest.raises(NoDataError):
        vendor.fetch(query(timeframe, "2025-02-01", "2025-02-02", AAPL))


@needs_reference
@pytest.mark.parametrize("name", sorted(UNREADABLE))
def test_recorded_answers_without_prices_raise_typed_errors(name: str) -> None:
    _, response = recorded("yahoo", name)
    vendor, _ = yahoo(response)
    with pytest.raises(ResponseFormatError, match="open"):
        vendor.fetch(whole("1d", response))


@needs_reference
@pytest.mark.parametrize("name", ERRORS)
def test_a_recorded_error_becomes_its_typed_error(name: str) -> None:
    _, response = recorded("yahoo", name)
    assert type(yahoo()[0].classify(response)) is ERRORS[name]


@pytest.mark.parametrize("named, is_ours", [("JPY=X", True), ("USDJPY=X", True), ("EUR=X", False)])
def test_dollars_against_a_currency_have_a_short_name(named: str, is_ours: bool) -> None:
    pair = Instrument("USDJPY=X", "forex", "FX", "UTC", spellings={"yahoo": "USDJPY=X"})
    vendor, _ = yahoo(chart([1717430400], {**NY, "symbol": named}))
    asked = query("1d", "2024-06-03", "2024-06-04", pair)
    if is_ours:
        assert len(vendor.fetch(asked).table) == 1
    else:
        with pytest.raises(ResponseFormatError, match="answered for 'EUR=X', not 'USDJPY=X'"):
            vendor.fetch(asked)


@pytest.mark.parametrize(
    "zone",
    ["Europe", "../../etc/passwd", "Nowhere/Land", "x" * 5000, "", 5, None, True, "a\0b", []],
)
def test_an_answer_with_an_unknown_time_zone_is_unreadable(zone: Any) -> None:
    vendor, _ = yahoo(chart([OPEN], NY | {"exchangeTimezoneName": zone}))
    with pytest.raises(ResponseFormatError):
        vendor.fetch(query("1h", OPEN * 1000, OPEN * 1000 + HOUR_MS, AAPL))


@pytest.mark.parametrize(
    "timeframe, named, is_ours",
    [
        ("1d", "1d", True), ("1d", "3mo", False), ("1d", "1m", False), ("1w", "1wk", True),
        ("1M", "1mo", True), ("1M", "1m", False), ("1h", "60m", True), ("1h", "1d", False),
        ("1d", "x" * 5000, False), ("1d", None, True),
    ],
)  # fmt: skip
def test_bars_of_another_timeframe_than_requested_are_unreadable(
    timeframe: str, named: str | None, is_ours: bool
) -> None:
    response = chart([OPEN], NY | {"dataGranularity": named})
    vendor, _ = yahoo(response)
    asked = query(timeframe, "2024-01-01", "2024-02-01", AAPL)
    if is_ours:
        assert len(stamps(response, asked)) == 1
    else:
        with pytest.raises(ResponseFormatError, match=r"returned bars of '.{1,40}', not"):
            vendor.fetch(asked)

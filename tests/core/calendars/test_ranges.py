"""Tests how the dates of a caller become stamps."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.core.calendars.ranges import resolve_range
from src.data.core.calendars.written_times import Period
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.time.instant import iso, parse_iso
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import BadRangeError
from tests.core.calendars.market import APPLE, BHP, BITCOIN, EMINI, EURO, TOYOTA
from tests.effort import calls_of

NOW = "2024-06-12T15:00:30"  # a Wednesday; New York trades
NEW_YORK_SUMMER = timezone(timedelta(hours=-4))


def resolved(
    instrument: Instrument, timeframe: str, start: Any, end: Any, bars: Any = None, now: str = NOW
) -> tuple[str, str, int | None]:
    """Return first stamp, last stamp (inclusive, that is end - 1 ms) and count."""
    step = Timeframe.parse(timeframe)
    span, count = resolve_range(instrument, step, start, end, parse_iso(now), bars)
    return iso(span.start), iso(span.end - 1), count


# --- datetimes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start, end",
    [
        (datetime(2024, 6, 3, 14, 30), datetime(2024, 6, 5, 20)),
        (
            datetime(2024, 6, 3, 14, 30, tzinfo=UTC),
            datetime(2024, 6, 5, 16, tzinfo=NEW_YORK_SUMMER),
        ),
        ("2024-06-03T14:30", "2024-06-05T20:00:00Z"),
        ("2024-06-03 10:30:00-04:00", " 2024-06-05 20:00 "),
        (pd.Timestamp("2024-06-03 14:30"), pd.Timestamp("2024-06-05 16:00", tz="America/New_York")),
        (np.datetime64("2024-06-03T14:30"), np.datetime64("2024-06-05T20:00:00.000000000")),
        (np.datetime64("2024-06-03T14:30:00", "ms"), np.datetime64("2024-06-05T20", "h")),
    ],
)
def test_instants_are_inclusive_at_both_ends(start: Any, end: Any) -> None:
    expected = ("2024-06-03T14:30:00Z", "2024-06-05T20:00:00Z", None)
    assert resolved(APPLE, "1h", start, end) == expected
    assert resolved(BITCOIN, "1d", start, end) == expected


def test_instants_mean_the_same_for_daily_stamps() -> None:
    start, end, _ = resolved(APPLE, "1d", datetime(2024, 6, 3), datetime(2024, 6, 5))
    assert (start, end) == ("2024-06-03T00:00:00Z", "2024-06-05T00:00:00Z")


@pytest.mark.parametrize(
    "start, end",
    [
        (datetime(2024, 6, 3, 14, 30, 0, 400), datetime(2024, 6, 5, 20, 0, 0, 1700)),
        (
            pd.Timestamp("2024-06-03 14:30:00.000000001"),
            pd.Timestamp("2024-06-05 20:00:00.001999999"),
        ),
        (
            np.datetime64("2024-06-03T14:30:00.000000001"),
            np.datetime64("2024-06-05T20:00:00.001999"),
        ),
    ],
)
def test_parts_of_a_millisecond_never_let_a_bar_in(start: Any, end: Any) -> None:
    found = resolved(APPLE, "1h", start, end)
    assert found[:2] == ("2024-06-03T14:30:00.001Z", "2024-06-05T20:00:00.001Z")


def test_instants_before_1970_are_resolved_to_the_millisecond() -> None:
    start, end, _ = resolved(
        APPLE, "1h", np.datetime64("1962-01-02T14:30:00.000000001"), "1962-01-03T00:00"
    )
    assert (start, end) == ("1962-01-02T14:30:00.001Z", "1962-01-03T00:00:00Z")


# --- dates -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start, end",
    [
        (date(2024, 6, 3), date(2024, 6, 5)),
        ("2024-06-03", "20240605"),
        (np.datetime64("2024-06-03"), "2024-06-05"),
    ],
)
@pytest.mark.parametrize(
    "instrument, first, last",
    [
        (BITCOIN, "2024-06-03T00:00:00Z", "2024-06-05T23:59:59.999Z"),
        (APPLE, "2024-06-03T04:00:00Z", "2024-06-06T03:59:59.999Z"),
        (TOYOTA, "2024-06-02T15:00:00Z", "2024-06-05T14:59:59.999Z"),
        (EURO, "2024-06-02T21:00:00Z", "2024-06-05T20:59:59.999Z"),
        (EMINI, "2024-06-02T22:00:00Z", "2024-06-05T20:59:59.999Z"),
    ],
)
def test_dates_are_whole_session_dates_of_the_venue(
    start: Any, end: Any, instrument: Instrument, first: str, last: str
) -> None:
    assert resolved(instrument, "1h", start, end) == (first, last, None)
    assert resolved(instrument, "1d", start, end) == (
        "2024-06-03T00:00:00Z", "2024-06-05T23:59:59.999Z", None,
    )  # fmt: skip


@pytest.mark.parametrize(
    "instrument, timeframe, start, first",
    [
        (EURO, "1h", "2024-06-03", "2024-06-02T21:00:00Z"),
        (EURO, "4h", "2024-06-03", "2024-06-02T20:00:00Z"),  # closed until 21:00
        (EURO, "4h", "2024-06-04", "2024-06-03T21:00:00Z"),  # the bar at 20:00 is Monday's
        (EURO, "6h", "2024-06-03", "2024-06-02T16:00:00Z"),
        (EURO, "4h", "2024-06-03T00:00", "2024-06-03T00:00:00Z"),
        (EURO, "1d", "2024-06-03", "2024-06-03T00:00:00Z"),
        (EMINI, "4h", "2024-06-03", "2024-06-02T21:00:00Z"),  # 16:00 in Chicago
        (EMINI, "4h", "2024-06-04", "2024-06-03T21:00:00Z"),  # when Monday's session ends
        (EMINI, "6h", "2024-06-04", "2024-06-03T22:00:00Z"),  # the bar at 17:00 is Monday's
        (EURO, "4h", "1900-01-02", "1900-01-01T21:00:00Z"),
        (APPLE, "4h", "2024-06-03", "2024-06-03T04:00:00Z"),
        (BITCOIN, "5h", "2024-06-03", "2024-06-03T00:00:00Z"),
    ],
)
def test_a_date_begins_with_the_bar_that_contains_its_open(
    instrument: Instrument, timeframe: str, start: str, first: str
) -> None:
    assert resolved(instrument, timeframe, start, "2024-06-07")[0] == first


@pytest.mark.parametrize(
    "instrument, timeframe, end, last",
    [
        (EURO, "4h", "2024-06-02", "2024-06-02T19:59:59.999Z"),  # a Sunday, closed until 21:00
        (EURO, "1h", "2024-06-02", "2024-06-02T20:59:59.999Z"),
        (EURO, "4h", "2024-06-03", "2024-06-03T20:59:59.999Z"),  # the bar at 20:00 is Monday's
        (EMINI, "6h", "2024-06-02", "2024-06-02T16:59:59.999Z"),
        (EMINI, "6h", "2024-05-31", "2024-05-31T20:59:59.999Z"),
    ],
)
def test_a_date_ends_before_the_bar_in_which_the_next_date_opens(
    instrument: Instrument, timeframe: str, end: str, last: str
) -> None:
    assert resolved(instrument, timeframe, "2024-05-30", end)[1] == last


def test_equal_dates_are_one_session() -> None:
    assert resolved(APPLE, "1m", "2024-06-05", "2024-06-05")[:2] == (
        "2024-06-05T04:00:00Z", "2024-06-06T03:59:59.999Z",
    )  # fmt: skip
    assert resolved(APPLE, "1d", date(2024, 6, 5), date(2024, 6, 5))[:2] == (
        "2024-06-05T00:00:00Z", "2024-06-05T23:59:59.999Z",
    )  # fmt: skip


def test_the_hours_of_a_date_follow_daylight_saving_time() -> None:
    assert resolved(APPLE, "1h", "2024-03-08", "2024-03-11")[:2] == (
        "2024-03-08T05:00:00Z", "2024-03-12T03:59:59.999Z",
    )  # fmt: skip


def test_a_date_and_an_instant_may_be_mixed() -> None:
    assert resolved(APPLE, "1h", "2024-06-05", datetime(2024, 6, 5, 16))[:2] == (
        "2024-06-05T04:00:00Z", "2024-06-05T16:00:00Z",
    )  # fmt: skip


# --- now -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end", [None, datetime(2030, 1, 1), "2030-01-01", "2024-06-12", date(2024, 6, 13)]
)
def test_an_open_or_future_end_is_now(end: Any) -> None:
    assert resolved(APPLE, "1h", "2024-06-03", end)[1] == "2024-06-12T15:00:30Z"


def test_now_itself_may_be_the_start() -> None:
    assert resolved(APPLE, "1h", NOW, None) == (
        "2024-06-12T15:00:30Z",
        "2024-06-12T15:00:30Z",
        None,
    )


def test_daily_stamps_up_to_now() -> None:
    assert resolved(APPLE, "1d", "2024-06-03", None)[1] == "2024-06-12T15:00:30Z"
    assert resolved(APPLE, "1d", "2024-06-03", "2024-06-12")[1] == "2024-06-12T15:00:30Z"


@pytest.mark.parametrize(
    "instrument, now, today",
    [(BHP, "2024-01-02T23:30", "2024-01-03"), (EURO, "2024-06-12T21:30", "2024-06-13")],
)
def test_a_session_may_run_before_its_date(instrument: Instrument, now: str, today: str) -> None:
    stamp = f"{today}T00:00:00Z"
    assert resolved(instrument, "1d", "2023-12-01", None, now=now)[1] == stamp
    assert resolved(instrument, "1d", today, None, now=now)[:2] == (stamp, stamp)


def test_today_by_its_utc_midnight_late_in_new_york() -> None:
    # In New York it is still the 12th; the stamp asked for is the 13th, which has not begun.
    found = resolved(APPLE, "1d", datetime(2024, 6, 13), None, now="2024-06-13T02:00")
    assert found[:2] == ("2024-06-13T00:00:00Z", "2024-06-13T02:00:00Z")


# --- a number of bars ------------------------------------------------------------------------


def test_the_last_bars_closed_by_now() -> None:
    # The hour from 14:30 is running; it lies in the span, but is not one of the three.
    assert resolved(APPLE, "1h", None, None, 3) == (
        "2024-06-11T18:30:00Z",
        "2024-06-12T15:00:30Z",
        3,
    )
    assert resolved(BITCOIN, "1h", None, None, 3) == (
        "2024-06-12T12:00:00Z",
        "2024-06-12T15:00:30Z",
        3,
    )


def test_a_count_up_to_a_future_end_is_one_up_to_now() -> None:
    assert resolved(APPLE, "1h", None, "2030-01-01", 3) == resolved(APPLE, "1h", None, None, 3)


def test_a_range_without_start_and_end_is_the_last_500_bars() -> None:
    assert resolved(BITCOIN, "1h", None, None) == (
        "2024-05-22T19:00:00Z",
        "2024-06-12T15:00:30Z",
        500,
    )
    # 112 sessions of 2024, 250 of 2023, and 138 of 2022 back to 15 June.
    assert resolved(APPLE, "1d", None, None) == (
        "2022-06-15T00:00:00Z",
        "2024-06-12T15:00:30Z",
        500,
    )


@pytest.mark.parametrize(
    "end, first, behind",
    [
        # A bar counts when it has closed by the end, which is inclusive. That of a vendor who
        # counts on the clock, from 16:00, has not; nor has one off the calendar behind the end.
        (datetime(2024, 7, 2, 16, 30), "2024-07-02T14:30:00Z", "2024-07-02T16:00:00Z"),
        (datetime(2024, 7, 2, 16, 29, 59), "2024-07-02T13:30:00Z", "2024-07-02T15:30:00Z"),
        ("2024-07-03", "2024-07-03T15:30:00Z", "2024-07-04T04:00:00Z"),  # closed at 17:00
        (date(2024, 7, 4), "2024-07-03T15:30:00Z", "2024-07-05T04:00:00Z"),
        (pd.Timestamp("2024-07-03 16:59"), "2024-07-03T14:30:00Z", "2024-07-03T16:00:00Z"),
    ],
)
def test_the_last_two_hours_by_an_end(end: Any, first: str, behind: str) -> None:
    step, now = Timeframe(1, "h"), parse_iso("2024-07-10T12:00")
    span, count = resolve_range(APPLE, step, None, end, now, 2)
    assert (iso(span.start), iso(span.end), count) == (first, behind, 2)


def test_the_last_days_by_a_date() -> None:
    start, stop, _ = resolved(APPLE, "1d", None, "2024-06-07", 5)
    assert start == "2024-06-03T00:00:00Z"
    assert "2024-06-07" < stop < "2024-06-10T00:00:00Z"


def test_months_by_a_date_need_their_last_session() -> None:
    assert resolved(APPLE, "1M", None, "2024-05-31", 2)[0] == "2024-04-01T00:00:00Z"
    assert resolved(APPLE, "1M", None, "2024-05-30", 2)[0] == "2024-03-01T00:00:00Z"


@pytest.mark.parametrize("bars", [0, -5, True, False, 2.5, "10", float("nan"), np.float64(3)])
def test_a_count_is_a_positive_whole_number(bars: Any) -> None:
    with pytest.raises(BadRangeError, match=r"AAPL: bars .* is not a positive integer"):
        resolved(APPLE, "1d", None, None, bars)


def test_a_count_may_be_numpys() -> None:
    assert resolved(APPLE, "1d", None, None, np.int64(3))[2] == 3


def test_a_count_beyond_all_history() -> None:
    with pytest.raises(BadRangeError, match=r"BTCUSDT: 1000000000 1m bars up to now .*1900"):
        resolved(BITCOIN, "1m", None, None, 10**9)
    with pytest.raises(BadRangeError, match=r"AAPL: 40000 1d bars up to end '2024-06-03'.*XNYS"):
        resolved(APPLE, "1d", None, "2024-06-03", 40_000)


def test_start_and_count_exclude_each_other() -> None:
    with pytest.raises(BadRangeError, match=r"AAPL: start '2024-01-01' and bars 10 cannot"):
        resolved(APPLE, "1d", "2024-01-01", None, 10)


@pytest.mark.parametrize("who", [APPLE, BITCOIN])
@pytest.mark.parametrize("timeframe, count", [("1d", 500), ("1M", 500), ("3M", 392), ("9w", 500)])
def test_without_bounds_as_many_as_calendars_know(
    who: Instrument, timeframe: str, count: int
) -> None:
    assert resolved(who, timeframe, None, None)[2] == count


# --- as people write them --------------------------------------------------------------------

# 11:00 in New York.
NOON = "2024-06-12T15:00:30Z"


@pytest.mark.parametrize(
    "start, end, first, last",
    [
        ("2023", "2023", "2023-01-01T05:00:00Z", "2024-01-01T04:59:59.999Z"),
        ("2024-02", "2024-02", "2024-02-01T05:00:00Z", "2024-03-01T04:59:59.999Z"),
        ("2024", None, "2024-01-01T05:00:00Z", NOON),
        ("today", "TODAY", "2024-06-12T04:00:00Z", NOON),
        ("yesterday", " yesterday ", "2024-06-11T04:00:00Z", "2024-06-12T03:59:59.999Z"),
        ("-30d", None, "2024-05-13T04:00:00Z", NOON),
        ("-2w", "-1w", "2024-05-29T04:00:00Z", "2024-06-06T03:59:59.999Z"),
        ("-1M", None, "2024-05-12T04:00:00Z", NOON),
        ("-6mo", None, "2023-12-12T05:00:00Z", NOON),
        ("-1Y", None, "2023-06-12T04:00:00Z", NOON),
        ("-12h", "-90m", "2024-06-12T03:00:30Z", "2024-06-12T13:30:30Z"),
        ("-12h", "now", "2024-06-12T03:00:30Z", NOON),
        (timedelta(hours=2), None, "2024-06-12T13:00:30Z", NOON),
        (timedelta(hours=-2), pd.Timedelta("1h"), "2024-06-12T13:00:30Z", "2024-06-12T14:00:30Z"),
        ("20240102-", "-20240103", "2024-01-02T05:00:00Z", "2024-01-04T04:59:59.999Z"),
    ],
)
def test_times_as_people_write_them(start: Any, end: Any, first: str, last: str) -> None:
    assert resolved(APPLE, "1h", start, end) == (first, last, None)


@pytest.mark.parametrize(
    "period, end, first",
    [
        ("1y", None, "2023-06-12T04:00:00Z"),
        ("1mo", "2024-03-31", "2024-02-29T05:00:00Z"),
        ("30d", "2030", "2024-05-13T04:00:00Z"),
        ("ytd", None, "2024-01-01T05:00:00Z"),
        ("YTD", "2023-05-01", "2023-01-01T05:00:00Z"),
        ("max", None, "1900-01-01T05:00:00Z"),
        ("12h", "2024-06-01T12:00", "2024-06-01T00:00:00Z"),
        (timedelta(days=1), None, "2024-06-11T15:00:30Z"),
    ],
)
def test_a_period_ends_with_the_end_or_now(period: Any, end: Any, first: str) -> None:
    assert resolved(APPLE, "1h", Period(period), end)[0] == first


def test_a_day_that_is_told_from_now_is_the_venues() -> None:
    late = "2024-06-12T22:00:00"  # 13 June in Tokyo, 12 June in New York
    assert resolved(TOYOTA, "1d", "today", None, now=late)[0] == "2024-06-13T00:00:00Z"
    assert resolved(APPLE, "1d", "today", None, now=late)[0] == "2024-06-12T00:00:00Z"


@pytest.mark.parametrize("period", ["0d", "-5d", "", "soon", 5, timedelta(0), timedelta(-1), "5q"])
def test_what_is_no_length_of_time_is_refused(period: Any) -> None:
    with pytest.raises(BadRangeError, match=r"is not a duration .*30d, 2w, 6mo, 1y, ytd"):
        resolved(APPLE, "1d", Period(period), None)


def test_a_period_beyond_all_calendars_is_refused() -> None:
    with pytest.raises(BadRangeError, match="period '9999y' is outside the years 1900 to 2261"):
        resolved(APPLE, "1d", Period("9999y"), None)
    with pytest.raises(BadRangeError, match="period '1y' and bars 5 cannot be combined"):
        resolved(APPLE, "1d", Period("1y"), None, bars=5)


def test_the_page_about_times_says_what_they_mean() -> None:
    page = (Path(__file__).parents[3] / "docs" / "times.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:4] for line in page.splitlines() if line.endswith(" UTC |")]
    assert len(rows) > 8
    for written, _, meant in rows:
        for text in re.findall(r'`"([^"]+)"`', written)[:1]:
            start = resolved(APPLE, "1h", text, None)[0]
            wanted = parse_iso(meant.strip().removesuffix(" UTC"))
            is_end = text.startswith("-2024")
            assert is_end or start == iso(wanted) or text == "now", (text, start)


def test_a_date_is_read_once_for_all_symbols_of_a_venue() -> None:
    def work(instrument: Instrument) -> int:
        now = parse_iso("2024-06-12T15:00:30")
        bounds = "1931-05-05", date(1932, 8, 9)  # which no other test uses
        return calls_of(lambda: resolve_range(instrument, Timeframe.parse("1d"), *bounds, now))

    first, again = work(APPLE), work(APPLE)
    assert again < first / 2
    assert work(replace(APPLE, symbol="MSFT")) == again
    assert work(TOYOTA) > again, "a date of Tokyo is another span"

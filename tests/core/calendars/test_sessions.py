"""Bars cut out of sessions: anchors, breaks, half days, weeks and months."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from src.data.core.calendars.calendar import first_unclosed
from src.data.core.calendars.sessions import SessionCalendar, SessionTable
from src.data.core.model.time.instant import HOUR_MS, iso, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import BadRangeError
from tests.core.cache.counts import FULL
from tests.core.calendars.market import (
    BOMBAY,
    CHICAGO,
    HONG_KONG,
    LONDON,
    NEW_YORK,
    TOKYO,
    bars,
    closes,
    opens,
    settles,
    shown,
    span,
)

MONDAY_AND_TUESDAY = (parse_iso("2024-06-10"), parse_iso("2024-06-11"))
MINUTE, HOUR, DAY = Timeframe(1, "m"), Timeframe(1, "h"), Timeframe(1, "d")


# --- bars within a session -------------------------------------------------------------------


def test_hours_counted_from_the_open_end_with_a_half_day() -> None:
    assert bars(NEW_YORK, "1h", "2024-07-03", "2024-07-05") == [
        "2024-07-03T13:30 > 2024-07-03T14:30",
        "2024-07-03T14:30 > 2024-07-03T15:30",
        "2024-07-03T15:30 > 2024-07-03T16:30",
        "2024-07-03T16:30 > 2024-07-03T17:00",
    ]


def test_hours_on_the_clock_begin_before_the_open() -> None:
    assert bars(NEW_YORK, "1h", "2024-07-03", "2024-07-05", "clock") == [
        "2024-07-03T13:00 > 2024-07-03T14:00",
        "2024-07-03T14:00 > 2024-07-03T15:00",
        "2024-07-03T15:00 > 2024-07-03T16:00",
        "2024-07-03T16:00 > 2024-07-03T17:00",
    ]


def test_four_hours_counted_from_the_open() -> None:
    assert bars(NEW_YORK, "4h", "2024-11-27", "2024-11-30") == [
        "2024-11-27T14:30 > 2024-11-27T18:30",
        "2024-11-27T18:30 > 2024-11-27T21:00",
        "2024-11-29T14:30 > 2024-11-29T18:00",
    ]


def test_four_hours_on_the_clock_stand_on_local_midnight() -> None:
    # 08:00, 12:00 and 16:00 in New York: an hour later in UTC once winter time begins.
    assert bars(NEW_YORK, "4h", "2024-11-01", "2024-11-05", "clock") == [
        "2024-11-01T12:00 > 2024-11-01T16:00",
        "2024-11-01T16:00 > 2024-11-01T20:00",
        "2024-11-04T13:00 > 2024-11-04T17:00",
        "2024-11-04T17:00 > 2024-11-04T21:00",
    ]


@pytest.mark.parametrize("day", ["2024-03-10", "2024-11-03", "2024-06-12"])
def test_each_hour_of_a_day_stands_on_the_clock_of_that_hour(day: str) -> None:
    # Not on that of the day: in New York clocks change at two in the morning.
    hours = [parse_iso(day) + n * HOUR_MS for n in range(-30, 48)]
    local = [datetime.fromtimestamp(ms / 1000, ZoneInfo(NEW_YORK.timezone)) for ms in hours]
    aligned = NEW_YORK.aligned(Timeframe(2, "h"), np.array(hours), "clock")
    assert aligned.tolist() == [time.hour % 2 == 0 for time in local]


def test_bars_of_45_minutes_end_early_on_a_half_day() -> None:
    assert bars(NEW_YORK, "45m", "2024-12-24T16:00", "2024-12-25") == [
        "2024-12-24T16:00 > 2024-12-24T16:45",
        "2024-12-24T16:45 > 2024-12-24T17:30",
        "2024-12-24T17:30 > 2024-12-24T18:00",
    ]


def test_a_step_that_divides_no_day_is_counted_from_the_open_in_both_anchors() -> None:
    expected = ["2024-06-12T13:30", "2024-06-12T18:30"]
    assert opens(NEW_YORK, "5h", "2024-06-12", "2024-06-13") == expected
    assert opens(NEW_YORK, "5h", "2024-06-12", "2024-06-13", "clock") == expected


def test_bars_begin_anew_after_lunch() -> None:
    assert bars(TOKYO, "1h", "2024-11-05", "2024-11-06") == [
        "2024-11-05T00:00 > 2024-11-05T01:00",
        "2024-11-05T01:00 > 2024-11-05T02:00",
        "2024-11-05T02:00 > 2024-11-05T02:30",
        "2024-11-05T03:30 > 2024-11-05T04:30",
        "2024-11-05T04:30 > 2024-11-05T05:30",
        "2024-11-05T05:30 > 2024-11-05T06:30",
    ]


def test_the_clock_goes_on_through_lunch() -> None:
    assert bars(TOKYO, "1h", "2024-11-01", "2024-11-02", "clock") == [
        "2024-11-01T00:00 > 2024-11-01T01:00",
        "2024-11-01T01:00 > 2024-11-01T02:00",
        "2024-11-01T02:00 > 2024-11-01T02:30",
        "2024-11-01T03:00 > 2024-11-01T04:00",
        "2024-11-01T04:00 > 2024-11-01T05:00",
        "2024-11-01T05:00 > 2024-11-01T06:00",
    ]


def test_a_clock_bar_that_holds_lunch_is_one_bar() -> None:
    # Hong Kong trades 09:30-12:00 and 13:00-16:00, eight hours ahead of UTC.
    assert bars(HONG_KONG, "8h", "2024-06-12", "2024-06-13", "clock") == [
        "2024-06-12T00:00 > 2024-06-12T08:00"
    ]
    assert bars(HONG_KONG, "4h", "2024-06-12", "2024-06-13", "clock") == [
        "2024-06-12T00:00 > 2024-06-12T04:00",
        "2024-06-12T04:00 > 2024-06-12T08:00",
    ]


def test_the_clock_is_the_venues_where_it_is_half_an_hour_off() -> None:
    # Bombay opens 09:15, which is 03:45 UTC; 09:00 there is 03:30 UTC.
    assert opens(BOMBAY, "1h", "2024-06-12", "2024-06-12T06:00", "clock") == [
        "2024-06-12T03:30", "2024-06-12T04:30", "2024-06-12T05:30",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "calendar, day, count",
    [
        (NEW_YORK, "2024-06-12", 390),
        (NEW_YORK, "2024-07-03", 210),
        (NEW_YORK, "2024-07-04", 0),
        (TOKYO, "2024-11-01", 300),
        (TOKYO, "2024-11-05", 330),
        (LONDON, "2024-06-12", 510),
    ],
)
def test_minutes_of_a_day(calendar, day: str, count: int) -> None:
    start = parse_iso(day)
    assert len(calendar.opens(MINUTE, Span(start, start + 86_400_000))) == count


# --- daily and longer ------------------------------------------------------------------------


def test_days_are_stamped_with_their_date_and_close_with_their_session() -> None:
    assert bars(NEW_YORK, "1d", "2024-11-27", "2024-12-01") == [
        "2024-11-27T00:00 > 2024-11-27T21:00",
        "2024-11-29T00:00 > 2024-11-29T18:00",
    ]


def test_weeks_start_on_monday_and_close_with_their_last_session() -> None:
    assert bars(NEW_YORK, "1w", "2024-03-18", "2024-04-01") == [
        "2024-03-18T00:00 > 2024-03-22T20:00",
        "2024-03-25T00:00 > 2024-03-28T20:00",  # Good Friday
    ]


def test_a_week_across_new_year() -> None:
    assert bars(NEW_YORK, "1w", "2024-12-30", "2025-01-06") == [
        "2024-12-30T00:00 > 2025-01-03T21:00"
    ]


def test_months_close_with_their_last_session() -> None:
    assert bars(NEW_YORK, "1M", "2024-03-01", "2024-06-01") == [
        "2024-03-01T00:00 > 2024-03-28T20:00",
        "2024-04-01T00:00 > 2024-04-30T20:00",
        "2024-05-01T00:00 > 2024-05-31T20:00",
    ]


def test_quarterly_bars_close_with_their_last_session() -> None:
    assert bars(NEW_YORK, "3M", "2024-01-01", "2025-01-01") == [
        "2024-01-01T00:00 > 2024-03-28T20:00",
        "2024-04-01T00:00 > 2024-06-28T20:00",
        "2024-07-01T00:00 > 2024-09-30T20:00",
        "2024-10-01T00:00 > 2024-12-31T21:00",
    ]


def test_three_days_are_counted_from_the_epoch_and_need_a_session() -> None:
    # 2024-03-28 is day 19810 = 3 * 6603 + 1; buckets begin on the 27th, 30th, and 2 April.
    assert bars(NEW_YORK, "3d", "2024-03-27", "2024-04-05") == [
        "2024-03-27T00:00 > 2024-03-28T20:00",
        "2024-03-30T00:00 > 2024-04-01T20:00",  # stamped with a Saturday
        "2024-04-02T00:00 > 2024-04-04T20:00",
    ]


# --- settling --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "day, opens_next",
    [
        ("2024-11-22", "2024-11-25T14:30"),  # Friday: Monday
        ("2024-08-30", "2024-09-03T13:30"),  # Friday before Labor Day: Tuesday
        ("2024-11-27", "2024-11-29T14:30"),  # before Thanksgiving: Friday
        ("2001-09-10", "2001-09-17T13:30"),
    ],
)
def test_a_day_settles_when_the_next_session_opens(day: str, opens_next: str) -> None:
    assert settles(NEW_YORK, "1d", day) == [opens_next]


def test_weeks_and_months_settle_when_the_next_session_opens() -> None:
    assert settles(NEW_YORK, "1w", "2024-03-25") == ["2024-04-01T13:30"]
    assert settles(NEW_YORK, "1M", "2024-12-01") == ["2025-01-02T14:30"]


def test_a_day_never_settles_before_the_time_the_vendor_needs() -> None:
    # The next session of these futures opens an hour behind the close.
    assert settles(CHICAGO, "1d", "2024-01-08", settle_ms=600_000) == ["2024-01-08T23:00"]
    assert settles(CHICAGO, "1d", "2024-01-08", settle_ms=4_200_000) == ["2024-01-08T23:10"]


def test_intraday_bars_settle_after_their_close() -> None:
    assert settles(NEW_YORK, "1h", "2024-07-03T16:30") == ["2024-07-03T17:02"]


# --- stamps that nobody expects --------------------------------------------------------------


def test_stamps_off_the_calendar_still_close() -> None:
    # Before the open, on a holiday, and within a session but off the grid.
    assert closes(
        NEW_YORK, "1h", "2024-07-03T12:00", "2024-07-04T15:00", "2024-07-03T16:45"
    ) == ["2024-07-03T13:00", "2024-07-04T16:00", "2024-07-03T17:00"]  # fmt: skip


def test_a_day_without_a_session_closes_at_local_midnight() -> None:
    assert closes(NEW_YORK, "1d", "2024-07-04", "2024-12-25") == [
        "2024-07-05T04:00", "2024-12-26T05:00",
    ]  # fmt: skip
    assert closes(TOKYO, "1d", "2024-11-04") == ["2024-11-04T15:00"]


def test_no_stamps_have_no_closes() -> None:
    nothing = NEW_YORK.opens(DAY, span("2024-07-04", "2024-07-05"))
    assert len(nothing) == len(NEW_YORK.closes(DAY, nothing)) == 0
    assert len(NEW_YORK.settles(HOUR, nothing, 0)) == 0


def test_absurd_stamps_do_not_break_anything() -> None:
    """Each alone: between both are all sessions there ever were, which full runs load."""
    for days in (["0001-01-02"], ["9999-12-30"], *([["0001-01-02", "9999-12-30"]] * FULL)):
        assert closes(NEW_YORK, "1h", *(f"{day}T10:00" for day in days)) == [
            f"{day}T11:00" for day in days
        ]
        assert len(closes(NEW_YORK, "1d", *days)) == len(days)


# --- walking ---------------------------------------------------------------------------------


def test_next_open_skips_a_long_week_end() -> None:
    friday_close = parse_iso("2024-08-30T20:00")
    assert iso(NEW_YORK.next_open(HOUR, friday_close)) == "2024-09-03T13:30:00Z"
    assert iso(NEW_YORK.next_open(DAY, parse_iso("2024-08-31"))) == "2024-09-03T00:00:00Z"


def test_back_counts_bars_over_closed_days() -> None:
    end = parse_iso("2025-01-06")
    assert iso(NEW_YORK.back(DAY, end, 3)) == "2024-12-31T00:00:00Z"
    assert iso(NEW_YORK.back(HOUR, end, 8)) == "2025-01-02T20:30:00Z"


def test_there_is_an_end_to_time() -> None:
    with pytest.raises(BadRangeError, match="XNYS does not expect a 1d bar"):
        NEW_YORK.next_open(DAY, parse_iso("2262-01-01"))
    with pytest.raises(BadRangeError, match=r"40000 1d bars .* 1900"):
        NEW_YORK.back(DAY, parse_iso("2025-01-06"), 40_000)
    with pytest.raises(BadRangeError, match="positive"):
        NEW_YORK.back(DAY, parse_iso("2025-01-06"), 0)


# --- a market that nobody has ----------------------------------------------------------------


def test_a_session_that_ends_on_the_utc_day_after_its_date() -> None:
    # Honolulu, 12:00 to 18:00: 22:00 to 04:00 of the next day in UTC.
    rows = [(day, day + 22 * HOUR_MS, day + 28 * HOUR_MS) for day in MONDAY_AND_TUESDAY]
    table = SessionTable.of((day, start, end, end, end) for day, start, end in rows)
    honolulu = SessionCalendar("XHNL", lambda: ZoneInfo("Pacific/Honolulu"), table.dated)
    running = parse_iso("2024-06-11T03:00")
    assert shown([first_unclosed(honolulu, DAY, running)]) == ["2024-06-10T00:00"]
    assert shown([first_unclosed(honolulu, DAY, running + HOUR_MS)]) == ["2024-06-11T00:00"]

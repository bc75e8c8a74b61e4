"""Exchanges: what happened on days whose hours are on record."""

from __future__ import annotations

from datetime import date
from typing import NoReturn

import exchange_calendars
import pytest

from src.data.core.calendars import exchange
from src.data.core.calendars.calendar import calendar_for, day_span
from src.data.core.calendars.session import Session
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, day_ms, iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import ConfigError
from tests.core.calendars.market import (
    APPLE,
    BITCOIN,
    CHICAGO,
    EURO,
    HONG_KONG,
    INDICES,
    LONDON,
    NEW_YORK,
    SYDNEY,
    TOKYO,
    bars,
    opens,
    span,
)

MINUTE, HOUR, DAY = Timeframe(1, "m"), Timeframe(1, "h"), Timeframe(1, "d")


def hours(calendar, day: str) -> str:
    """Return open and close of one date, as UTC times of day."""
    (session,) = calendar.sessions(date.fromisoformat(day), date.fromisoformat(day))
    return f"{iso(session.open_ms)[11:16]}-{iso(session.close_ms)[11:16]}"


# --- sessions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "day, expected",
    [
        ("2024-07-02", "13:30-20:00"),
        ("2024-07-03", "13:30-17:00"),  # the eve of Independence Day closes at 13:00
        ("2024-11-29", "14:30-18:00"),  # the day after Thanksgiving
        ("2024-12-24", "14:30-18:00"),  # Christmas Eve
        ("2024-03-08", "14:30-21:00"),  # the last day of winter time
        ("2024-03-11", "13:30-20:00"),
        ("2024-11-01", "13:30-20:00"),  # the last day of summer time
        ("2024-11-04", "14:30-21:00"),
    ],
)
def test_hours_of_new_york(day: str, expected: str) -> None:
    assert hours(NEW_YORK, day) == expected


@pytest.mark.parametrize(
    "day, expected",
    [
        ("2024-03-28", "08:00-16:30"),
        ("2024-04-02", "07:00-15:30"),  # summer time began on Easter Sunday
        ("2024-10-25", "07:00-15:30"),
        ("2024-10-28", "08:00-16:30"),  # a week before New York changes
        ("2024-12-24", "08:00-12:30"),
    ],
)
def test_sessions_of_london_follow_summer_time_and_half_days(day: str, expected: str) -> None:
    assert hours(LONDON, day) == expected


@pytest.mark.parametrize(
    "day",
    [
        "2025-01-01",
        "2024-07-04",
        "2024-03-29",  # Good Friday
        "2025-01-09",  # mourning for President Carter
        "2001-09-12",
        "1985-09-27",  # hurricane Gloria
        "2024-06-15",  # a Saturday
        "2099-12-25",
    ],
)
def test_days_without_a_session_in_new_york(day: str) -> None:
    assert NEW_YORK.sessions(date.fromisoformat(day), date.fromisoformat(day)) == []


def test_the_turn_of_a_year() -> None:
    days = [s.day.isoformat() for s in NEW_YORK.sessions(date(2024, 12, 28), date(2025, 1, 6))]
    assert days == ["2024-12-30", "2024-12-31", "2025-01-02", "2025-01-03", "2025-01-06"]


def test_the_turn_of_an_era_loses_and_doubles_nothing() -> None:
    days = [s.day.isoformat() for s in NEW_YORK.sessions(date(2009, 12, 30), date(2010, 1, 5))]
    assert days == ["2009-12-30", "2009-12-31", "2010-01-04", "2010-01-05"]


def test_two_years_around_the_turn_of_an_era() -> None:
    days = [s.day for s in NEW_YORK.sessions(date(2009, 1, 1), date(2010, 12, 31))]
    assert len(days) == 252 + 252
    assert days == sorted(set(days))


def test_lunch_is_a_break_of_the_session() -> None:
    assert TOKYO.sessions(date(2024, 11, 1), date(2024, 11, 5)) == [
        Session(date(2024, 11, 1), *span("2024-11-01T00:00", "2024-11-01T06:00"),
                (span("2024-11-01T02:30", "2024-11-01T03:30"),)),
        # 4 November was a holiday; from the 5th on Tokyo trades until 15:30.
        Session(date(2024, 11, 5), *span("2024-11-05T00:00", "2024-11-05T06:30"),
                (span("2024-11-05T02:30", "2024-11-05T03:30"),)),
    ]  # fmt: skip


def test_a_future_trades_from_the_evening_before() -> None:
    assert CHICAGO.sessions(date(2024, 1, 8), date(2024, 1, 8)) == [
        Session(date(2024, 1, 8), *span("2024-01-07T23:00", "2024-01-08T22:00"))
    ]


@pytest.mark.parametrize(
    "day, expected",
    [
        ("2013-10-30", "22:00-21:15"),  # as minutes of ES of that day end, 16:15 in Chicago
        ("2015-09-18", "22:00-21:15"),
        ("2015-09-21", "22:00-21:00"),
        ("2020-01-06", "23:00-22:00"),  # as minutes of ES of that day end
        ("2024-07-04", "22:00-17:00"),  # a holiday of the stock exchange
    ],
)
def test_the_maintenance_of_globex_is_no_session(day: str, expected: str) -> None:
    assert hours(CHICAGO, day) == expected


def test_a_month_of_minutes_of_a_future_has_no_gap_in_the_maintenance() -> None:
    minutes = CHICAGO.opens(MINUTE, span("2024-05-31T22:00", "2024-06-28T22:00"))
    assert not (minutes % DAY_MS // HOUR_MS == 21).any()
    assert len(minutes) == 20 * 23 * 60


@pytest.mark.parametrize(
    "day, pauses",
    [
        ("2013-10-30", ["20:15-20:30"]),  # as minutes of ES of that day pause
        ("2013-11-29", []),  # the day after Thanksgiving closes at noon
        ("2013-12-02", ["21:15-21:30"]),
        ("2021-06-25", ["20:15-20:30"]),  # the last one, a Friday
        ("2021-06-28", []),
        ("2024-01-08", []),
    ],
)
def test_futures_of_equity_indices_paused_at_a_quarter_past_three(
    day: str, pauses: list[str]
) -> None:
    there = date.fromisoformat(day)
    (session,), (whole,) = INDICES.sessions(there, there), CHICAGO.sessions(there, there)
    told = [f"{iso(one.start)[11:16]}-{iso(one.end)[11:16]}" for one in session.breaks]
    assert (told, whole.breaks) == (pauses, ())
    assert session._replace(breaks=()) == whole


def test_no_minute_is_expected_in_the_pause_of_futures_and_longer_bars_are_counted_over_it() -> (
    None
):
    around = ("2013-10-30T20:13", "2013-10-30T20:32")
    told = [minute[-5:] for minute in opens(INDICES, "1m", *around)]
    assert told == ["20:13", "20:14", "20:30", "20:31"]
    assert len(opens(CHICAGO, "1m", *around)) == 19
    afternoon = ("2013-10-30T20:00", "2013-10-30T22:00")
    quarters = [quarter[-5:] for quarter in opens(INDICES, "15m", *afternoon)]
    assert quarters == ["20:00", "20:30", "20:45", "21:00"]
    for anchor in ("session", "clock"):
        assert bars(INDICES, "1h", *afternoon, anchor) == [
            "2013-10-30T20:00 > 2013-10-30T21:00",
            "2013-10-30T21:00 > 2013-10-30T21:15",
        ]
    # A week, then one in which the pause was no more: 15 minutes a day are the difference.
    assert len(INDICES.opens(MINUTE, span("2021-06-20T22:00", "2021-06-25T21:00"))) == 5 * 1365
    assert len(INDICES.opens(MINUTE, span("2021-06-27T22:00", "2021-07-02T21:00"))) == 5 * 1380


def test_tel_aviv_was_closed_for_the_municipal_elections_of_2024() -> None:
    tel_aviv = calendar_for(Instrument("TEVA.TA", "stock", "XTAE", "Asia/Jerusalem"))
    days = [s.day.day for s in tel_aviv.sessions(date(2024, 2, 25), date(2024, 3, 2))]
    assert days == [25, 26, 28, 29]


def test_the_easter_of_cyprus_is_that_of_the_orthodox_church() -> None:
    nicosia = calendar_for(Instrument("BOCH.CY", "stock", "XCYS", "Asia/Nicosia"))
    assert hours(nicosia, "2024-04-29") == "07:30-14:00"
    easter = nicosia.sessions(date(2024, 5, 1), date(2024, 5, 8))
    assert [s.day.day for s in easter] == [2, 8], "Labour Day, Good Friday to Easter Tuesday"


@pytest.mark.parametrize(
    "day, regular, extended", [("2024-07-02", 390, 960), ("2024-07-03", 210, 780)]
)
def test_no_vendor_need_have_a_minute_outside_of_regular_hours(
    day: str, regular: int, extended: int
) -> None:
    long = calendar_for(APPLE.extended())
    whole = span(f"{day}T08:00", f"{day}T23:59:59")
    assert len(long.opens(MINUTE, whole)) == extended
    required = long.required(MINUTE, whole)
    assert (len(required), iso(int(required[0]))[11:16]) == (regular, "13:30")
    quarters = long.required(Timeframe(15, "m"), whole)
    assert len(quarters) == regular // 15
    hours_required = long.required(HOUR, whole)
    assert len(hours_required) == extended // 60, "an hour without a trade is a gap"


def test_a_morning_without_trading_has_no_break() -> None:
    late = HONG_KONG.sessions(date(2020, 8, 19), date(2020, 8, 19))
    assert late == [Session(date(2020, 8, 19), *span("2020-08-19T05:30", "2020-08-19T08:00"))]
    assert len(HONG_KONG.opens(HOUR, span("2020-08-19T00:00", "2020-08-20T00:00"))) == 3


@pytest.mark.parametrize(
    "day, opened",
    [
        ("2020-08-19", "05:30"),  # a morning without trading because of a typhoon
        ("2020-08-20", "01:30"),
        ("2020-12-24", "01:30"),  # stocks close at 12:00
        ("2020-12-25", "01:30"),
    ],
)
def test_the_date_of_a_future_has_its_late_open_and_the_usual_close(day: str, opened: str) -> None:
    future = Instrument("MINE", "future", "XHKG", "Asia/Hong_Kong")
    expected = span(f"{day}T{opened}", f"{day}T08:00")
    assert day_span(future, date.fromisoformat(day)) == expected


def test_sydney_opens_on_the_utc_day_before() -> None:
    assert SYDNEY.sessions(date(2024, 1, 3), date(2024, 1, 3)) == [
        Session(date(2024, 1, 3), *span("2024-01-02T23:00", "2024-01-03T05:00"))
    ]


# --- what the library does not know ----------------------------------------------------------


def test_before_its_records_every_weekday_trades_at_the_usual_times() -> None:
    # Tokyo is recorded from 1997; Wednesday 3 May 1995 was a holiday, which is not known.
    assert TOKYO.sessions(date(1995, 5, 3), date(1995, 5, 7)) == [
        Session(day, *span(f"{day}T00:00", f"{day}T06:00"), (span(f"{day}T02:30", f"{day}T03:30"),))
        for day in (date(1995, 5, 3), date(1995, 5, 4), date(1995, 5, 5))
    ]
    new_year = [s.day.isoformat() for s in TOKYO.sessions(date(1996, 12, 31), date(1997, 1, 6))]
    assert new_year == ["1996-12-31", "1997-01-06"]


def test_behind_its_records_every_weekday_trades() -> None:
    # Shanghai's holidays are announced a year ahead; this week of 2029 has none either way.
    shanghai = calendar_for(Instrument("600519.SS", "stock", "XSHG", "Asia/Shanghai"))
    days = [s.day.day for s in shanghai.sessions(date(2029, 6, 3), date(2029, 6, 9))]
    assert days == [4, 5, 6, 7, 8]
    assert hours(shanghai, "2029-06-04") == "01:30-07:00"


def test_where_holidays_are_unknown_the_calendar_says_so() -> None:
    assert NEW_YORK.unrecorded(span("1950-01-01", "2100-01-01")) == []
    before = TOKYO.unrecorded(span("1994-06-01", "1998-01-01"))
    assert before == [span("1994-06-01", "1997-01-01")]
    shanghai = calendar_for(Instrument("600519.SS", "stock", "XSHG", "Asia/Shanghai"))
    (behind,) = shanghai.unrecorded(span("2020-01-01", "2040-01-01"))
    assert behind.start > day_ms(date(2025, 1, 1)) and behind.end == day_ms(date(2040, 1, 1))
    for ruled in calendar_for(BITCOIN), calendar_for(EURO):
        assert ruled.unrecorded(span("1994-06-01", "2040-01-01")) == []


@pytest.mark.parametrize("fault", [ValueError, NotImplementedError, TypeError, AttributeError])
def test_a_calendar_that_the_library_cannot_build_is_weekdays_and_says_so(
    fault: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(name: str, dates: Span) -> NoReturn:
        raise fault("a new pandas")

    monkeypatch.setattr(exchange, "built", fails)
    # Names of another spelling, for what was built is kept.
    name = {ValueError: "IEPA", NotImplementedError: "XCBF", TypeError: "XEUR"}.get(fault, "XEEE")
    calendar = calendar_for(Instrument("ABC", "stock", name, "UTC"))
    week = span("2024-12-23", "2024-12-28")
    assert len(calendar.sessions(date(2024, 12, 23), date(2024, 12, 27))) == 5
    assert calendar.unrecorded(week) == [week]


def test_athens_has_its_holidays() -> None:
    athens = calendar_for(Instrument("OPAP.AT", "stock", "ASEX", "Europe/Athens"))
    assert hours(athens, "2024-06-12") == "07:00-14:20"
    easter = athens.sessions(date(2024, 5, 1), date(2024, 5, 8))
    assert [s.day.day for s in easter] == [2, 7, 8], "Labour Day, Good Friday and Easter Monday"
    assert athens.unrecorded(span("1990-01-01", "2030-01-01")) == []


def test_the_week_of_riyadh_runs_from_sunday_to_thursday_in_every_era() -> None:
    riyadh = calendar_for(Instrument("2222.SR", "stock", "XSAU", "Asia/Riyadh"))
    recorded = riyadh.sessions(date(2024, 6, 2), date(2024, 6, 8))
    unrecorded = riyadh.sessions(date(2015, 6, 7), date(2015, 6, 13))
    assert [s.day.weekday() for s in recorded] == [6, 0, 1, 2, 3]
    assert [s.day.weekday() for s in unrecorded] == [6, 0, 1, 2, 3]


def test_the_week_of_tel_aviv_changed_in_2026() -> None:
    tel_aviv = calendar_for(Instrument("TEVA.TA", "stock", "XTAE", "Asia/Jerusalem"))
    before = tel_aviv.sessions(date(2024, 7, 7), date(2024, 7, 13))
    behind = tel_aviv.sessions(date(2026, 7, 5), date(2026, 7, 11))
    assert [s.day.weekday() for s in before] == [6, 0, 1, 2, 3]
    assert [s.day.weekday() for s in behind] == [0, 1, 2, 3, 4]


def test_the_week_of_seoul_had_six_days_in_years_without_known_holidays_too() -> None:
    seoul = calendar_for(Instrument("005930.KS", "stock", "XKRX", "Asia/Seoul"))
    week = seoul.sessions(date(1903, 6, 8), date(1903, 6, 14))
    assert [s.day.weekday() for s in week] == [0, 1, 2, 3, 4, 5]


def test_an_unknown_exchange_is_told_at_the_first_question() -> None:
    nowhere = calendar_for(Instrument("ABC", "stock", "XNIL", "UTC"))
    with pytest.raises(ConfigError, match="unknown calendar 'XNIL'"):
        nowhere.sessions(date(2024, 1, 1), date(2024, 1, 2))


def test_a_users_own_calendar_is_left_alone() -> None:
    mine = exchange_calendars.get_calendar("XLON", start="2024-01-01", end="2024-02-01")
    LONDON.sessions(date(1975, 1, 1), date(1975, 2, 1))
    assert exchange_calendars.get_calendar("XLON", start="2024-01-01", end="2024-02-01") is mine

"""Spot currencies: Sunday to Friday 17:00 New York, checked hour by hour."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from src.data.core.calendars.calendar import day_span
from src.data.core.calendars.session import Session
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, day_ms, iso, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from tests.core.calendars.market import CHICAGO, EURO, FX, bars, closes, opens, settles, span
from tests.core.calendars.market import NEW_YORK as SHARES

NEW_YORK = ZoneInfo("America/New_York")


def trades(moment: datetime) -> bool:
    """Decide from the wall clock in New York alone."""
    wall = moment.astimezone(NEW_YORK)
    session = wall.date() + timedelta(days=1) if wall.hour >= 17 else wall.date()
    return session.weekday() < 5 and (session.month, session.day) not in {(1, 1), (12, 25)}


def test_every_hour_of_four_years() -> None:
    first, last = datetime(2021, 12, 1, tzinfo=UTC), datetime(2026, 1, 15, tzinfo=UTC)
    count = (last - first) // timedelta(hours=1)
    every = (first + timedelta(hours=n) for n in range(count))
    expected = [int(m.timestamp()) * 1000 for m in every if trades(m)]
    whole = Span(int(first.timestamp()) * 1000, int(last.timestamp()) * 1000)
    assert FX.opens(Timeframe(1, "h"), whole).tolist() == expected
    assert (FX.closes(Timeframe(1, "h"), np.array(expected)) == np.array(expected) + HOUR_MS).all()


def test_every_day_of_four_years() -> None:
    days = [date(2022, 1, 1) + timedelta(days=n) for n in range(1461)]
    expected = [d for d in days if d.weekday() < 5 and (d.month, d.day) not in {(1, 1), (12, 25)}]
    sessions = FX.sessions(days[0], days[-1])
    assert [s.day for s in sessions] == expected
    assert {datetime.fromtimestamp(s.close_ms / 1000, NEW_YORK).hour for s in sessions} == {17}
    assert all(
        datetime.fromtimestamp(s.close_ms / 1000, NEW_YORK).date() == s.day for s in sessions
    )
    whole = Span(day_ms(days[0]), day_ms(days[-1]) + DAY_MS)
    assert FX.opens(Timeframe(1, "d"), whole).tolist() == [day_ms(d) for d in expected]


def test_the_week_in_which_daylight_saving_time_begins() -> None:
    assert FX.sessions(date(2024, 3, 8), date(2024, 3, 11)) == [
        Session(date(2024, 3, 8), *span("2024-03-07T22:00", "2024-03-08T22:00")),
        Session(date(2024, 3, 11), *span("2024-03-10T21:00", "2024-03-11T21:00")),
    ]


def test_four_hours_stand_on_midnight_in_new_york() -> None:
    assert bars(FX, "4h", "2024-03-08T13:00", "2024-03-11T06:00") == [
        "2024-03-08T13:00 > 2024-03-08T17:00",
        "2024-03-08T17:00 > 2024-03-08T21:00",
        "2024-03-08T21:00 > 2024-03-08T22:00",  # cut by Friday's close
        "2024-03-10T20:00 > 2024-03-11T00:00",  # holds Sunday's open at 21:00
        "2024-03-11T00:00 > 2024-03-11T04:00",
        "2024-03-11T04:00 > 2024-03-11T08:00",
    ]


def test_a_bar_may_hold_the_change_of_day() -> None:
    assert bars(FX, "4h", "2024-06-11T20:00", "2024-06-12T00:00") == [
        "2024-06-11T20:00 > 2024-06-12T00:00"
    ]


def test_christmas_closes_from_the_evening_before() -> None:
    assert opens(FX, "1h", "2024-12-24T21:00", "2024-12-25T23:00") == [
        "2024-12-24T21:00", "2024-12-25T22:00",
    ]  # fmt: skip


def test_days_settle_with_the_next_open_or_the_vendor() -> None:
    # Tuesday: Wednesday opens at once, so the vendor's two minutes count. Friday: Sunday evening.
    assert settles(FX, "1d", "2024-06-11", "2024-06-14") == ["2024-06-11T21:02", "2024-06-16T21:00"]


def test_weeks_and_months_of_currencies_close_on_friday_in_new_york() -> None:
    assert closes(FX, "1w", "2024-06-10") == ["2024-06-14T21:00"]
    assert closes(FX, "1M", "2024-06-01", "2024-11-01") == ["2024-06-28T21:00", "2024-11-29T22:00"]


def test_a_date_is_from_five_to_five_even_on_a_week_end() -> None:
    shown = {
        d: [iso(ms) for ms in day_span(EURO, date.fromisoformat(d))]
        for d in ("2024-06-12", "2024-06-15", "2024-03-11")
    }
    assert shown == {
        "2024-06-12": ["2024-06-11T21:00:00Z", "2024-06-12T21:00:00Z"],
        "2024-06-15": ["2024-06-14T21:00:00Z", "2024-06-15T21:00:00Z"],
        "2024-03-11": ["2024-03-10T21:00:00Z", "2024-03-11T21:00:00Z"],
    }


def test_the_anchor_makes_no_difference() -> None:
    week = span("2024-06-09", "2024-06-16")
    two = Timeframe(2, "h")
    assert (FX.opens(two, week, "session") == FX.opens(two, week, "clock")).all()


def test_walking_over_the_week_end() -> None:
    assert (
        iso(FX.next_open(Timeframe(1, "m"), parse_iso("2024-06-14T21:00")))
        == "2024-06-16T21:00:00Z"
    )
    assert (
        iso(FX.back(Timeframe(1, "m"), parse_iso("2024-06-16T21:01"), 2)) == "2024-06-14T20:59:00Z"
    )


# --- Christmas and New Year -------------------------------------------------------------------


def lacked(*came: tuple[str, str]) -> list[str]:
    """Return the stretches from 23 December to 3 January that a dealer with these hours owes."""
    whole = span(came[0][0], came[-1][1])
    hours = np.concatenate([
        np.arange(a, b, HOUR_MS) for a, b in (span(*stretch) for stretch in came)
    ])  # fmt: skip
    required = FX.required(Timeframe(1, "h"), whole)
    return [iso(int(ms)) for ms in np.setdiff1d(required, hours)]


@pytest.mark.parametrize("came", [
    # OANDA, EURUSD, Christmas of 2012 to 2015 and of 2018 (QuantConnect/Lean, Data/forex/oanda/hour).
    [("2012-12-23T22:00", "2012-12-24T19:00"), ("2012-12-26T13:00", "2012-12-28T22:00")],
    [("2013-12-22T22:00", "2013-12-24T19:00"), ("2013-12-25T22:00", "2013-12-27T22:00")],
    [("2014-12-29T05:00", "2014-12-31T19:00"), ("2015-01-01T22:00", "2015-01-02T22:00")],
    [("2016-12-22T22:00", "2016-12-23T22:00"), ("2016-12-26T22:00", "2016-12-30T22:00"),
     ("2017-01-02T22:00", "2017-01-03T22:00")],
    # FXCM, EURUSD, New Year's Eve of 2013 to 13:00 in New York.
    [("2013-12-29T22:00", "2013-12-31T18:00")],
    # A dealer that trades through Christmas Eve.
    [("2017-12-25T22:00", "2017-12-29T22:00"), ("2018-01-01T22:00", "2018-01-02T22:00")],
])  # fmt: skip
def test_the_hours_of_a_dealer_around_christmas_are_no_gaps(came: list[tuple[str, str]]) -> None:
    assert lacked(*came) == []


def test_a_dealer_owes_what_every_dealer_has() -> None:
    assert lacked(("2013-12-22T22:00", "2013-12-24T17:00")) == []
    assert lacked(("2013-12-23T05:00", "2013-12-24T10:00"), ("2013-12-26T15:00", "2013-12-26T16:00")) == [
        f"2013-12-24T{hour}:00:00Z" for hour in range(10, 18)
    ] + ["2013-12-26T13:00:00Z", "2013-12-26T14:00:00Z"]  # fmt: skip


@pytest.mark.parametrize("timeframe", ["1d", "1w", "1M"])
def test_days_and_longer_are_owed_as_ever(timeframe: str) -> None:
    year = span("2013-12-01", "2014-02-01")
    step = Timeframe.parse(timeframe)
    assert FX.required(step, year).tolist() == FX.opens(step, year).tolist()


def test_a_bar_that_reaches_into_hours_of_all_dealers_is_required() -> None:
    # 12:00 to 16:00 in New York holds an hour that every dealer trades.
    (noon,) = FX.required(Timeframe(4, "h"), span("2013-12-24T16:00", "2013-12-26T12:00"))
    assert iso(int(noon)) == "2013-12-24T17:00:00Z"


def test_a_bar_of_a_sunday_closes_with_its_date() -> None:
    assert closes(FX, "1d", "2024-06-02", "2024-12-25") == ["2024-06-02T21:00", "2024-12-25T22:00"]
    # So do those of futures, at 16:00 in Chicago; a share's date ends at midnight in New York.
    assert closes(CHICAGO, "1d", "2024-06-02") == ["2024-06-02T21:00"]
    assert closes(SHARES, "1d", "2024-06-02") == ["2024-06-03T04:00"]

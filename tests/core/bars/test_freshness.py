"""Tests how old a series is, measured against sessions that were counted by hand."""

from __future__ import annotations

import pytest

from src.data.core.bars.freshness import Pace, is_at_rest, open_ms
from src.data.core.calendars.calendar import MarketCalendar
from src.data.core.model.stored.coverage import Coverage, Covered, State
from src.data.core.model.time.instant import iso, parse_iso
from src.data.core.model.time.timeframe import Timeframe
from tests.core.calendars.market import ALWAYS, CHICAGO, FX, HONG_KONG, NEW_YORK, span

HOUR = 3_600_000


def pace(calendar: MarketCalendar, timeframe: str, now: str, settle_ms: int = 120_000) -> Pace:
    return Pace.at(calendar, Timeframe.parse(timeframe), parse_iso(now), settle_ms)


def held(start: str, end: str, state: State = "final", **other: object) -> Covered:
    return Covered(span(start, end), state, **other)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "calendar, timeframe, now, due",
    [
        (ALWAYS, "1h", "2024-06-12T15:01:59", "2024-06-12T13:00"),
        (ALWAYS, "1h", "2024-06-12T15:02:00", "2024-06-12T14:00"),
        (NEW_YORK, "1d", "2024-06-10T13:29:59", "2024-06-06"),  # Friday's settles on Monday
        (NEW_YORK, "1d", "2024-06-10T13:30:00", "2024-06-07"),
        (NEW_YORK, "5m", "2024-06-10T13:00:00", "2024-06-07T19:55"),
        (NEW_YORK, "1w", "2024-06-10T13:00:00", "2024-05-27"),
        (NEW_YORK, "1w", "2024-06-10T13:30:00", "2024-06-03"),
        (FX, "1d", "2024-06-16T12:00:00", "2024-06-13"),
    ],
)
def test_the_newest_bar_due_to_be_final_follows_settling_time_and_calendar(
    calendar: MarketCalendar, timeframe: str, now: str, due: str
) -> None:
    found = pace(calendar, timeframe, now).due_ms
    assert found is not None
    assert iso(found) == iso(parse_iso(due))


def test_a_bar_is_due_exactly_at_its_settling_time() -> None:
    settles = parse_iso("2024-06-12T15:02:00")
    dues = [
        Pace.at(ALWAYS, Timeframe.parse("1h"), now, 120_000).due_ms
        for now in (settles - 1, settles)
    ]
    assert dues == [parse_iso("2024-06-12T13:00"), parse_iso("2024-06-12T14:00")]


def test_a_weekend_does_not_make_a_series_stale_or_count_in_its_age() -> None:
    coverage = Coverage([held("2024-05-01", "2024-06-07")])
    sunday = pace(NEW_YORK, "1d", "2024-06-09T12:00:00").of(coverage, parse_iso("2024-06-06"))
    assert (sunday.behind, sunday.is_stale) == (0, False)
    assert sunday.age_ms == 6.5 * HOUR, "Friday's session; it settles on Monday"


def test_bars_behind_are_counted_in_sessions() -> None:
    coverage = Coverage([held("2024-05-01", "2024-06-12")])
    found = pace(NEW_YORK, "1d", "2024-06-24T14:00:00").of(coverage, parse_iso("2024-06-11"))
    # 12, 13, 14, 17, 18, 20, 21 June; the 19th is a holiday.
    assert found.behind == 7
    assert found.age_ms == 7 * 6.5 * HOUR + 0.5 * HOUR
    hours = pace(NEW_YORK, "1h", "2024-06-12T15:00:30").of(
        Coverage([held("2024-06-11T13:30", "2024-06-11T15:30")]), parse_iso("2024-06-11T14:30")
    )
    assert hours.behind == 6, "15:30 to 19:30 of yesterday, 13:30 of today"


def test_a_series_is_not_behind_for_bars_known_to_be_absent() -> None:
    now = "2024-06-12T12:10:00"
    last = parse_iso("2024-06-12T08:00")
    bars = held("2024-06-12T00:00", "2024-06-12T09:00")
    nothing = held("2024-06-12T09:00", "2024-06-12T11:00", "empty", expires=parse_iso(now) + 1)
    doubted = held("2024-06-12T11:00", "2024-06-12T12:00", "suspect", expires=parse_iso(now) + 1)
    assert pace(ALWAYS, "1h", now).of(Coverage([bars, nothing, doubted]), last).behind == 0
    later = pace(ALWAYS, "1h", "2024-06-12T12:10:01")
    assert later.of(Coverage([bars, nothing, doubted]), last).behind == 3, "it has expired"


def test_a_provisional_bar_is_behind_as_soon_as_it_should_have_settled() -> None:
    coverage = Coverage([
        held("2024-06-12T00:00", "2024-06-12T13:00"),
        held("2024-06-12T13:00", "2024-06-12T14:00", "provisional"),
    ])  # fmt: skip
    last = parse_iso("2024-06-12T13:00")
    fresh = pace(ALWAYS, "1h", "2024-06-12T14:01:59").of(coverage, last)
    stale = pace(ALWAYS, "1h", "2024-06-12T14:02:00").of(coverage, last)
    assert (fresh.behind, stale.behind) == (0, 1)
    assert fresh.newest_ms == stale.newest_ms == parse_iso("2024-06-12T12:00")


def test_a_series_without_a_final_bar_has_no_age() -> None:
    coverage = Coverage([held("2024-06-12T10:00", "2024-06-12T12:00", "provisional")])
    found = pace(ALWAYS, "1h", "2024-06-12T12:02:00").of(coverage, parse_iso("2024-06-12T11:00"))
    assert (found.newest_ms, found.age_ms, found.behind) == (None, None, 2)
    nothing = pace(ALWAYS, "1h", "2024-06-12T12:02:00").of(Coverage(), None)
    assert (nothing.newest_ms, nothing.behind) == (None, 0)


@pytest.mark.parametrize(
    "calendar, start, end, hours",
    [
        (ALWAYS, "2024-06-08T10:30", "2024-06-10T10:30", 48),
        (NEW_YORK, "2024-06-07T20:00", "2024-06-10T13:30", 0),
        (NEW_YORK, "2024-06-07T19:00", "2024-06-10T14:30", 2),
        (NEW_YORK, "2024-07-03T13:30", "2024-07-05T13:30", 3.5),  # half a day, then a holiday
        (HONG_KONG, "2024-06-12T01:30", "2024-06-12T08:00", 5.5),  # an hour for lunch
        (FX, "2024-06-14T20:00", "2024-06-16T22:00", 2),
        (
            CHICAGO,
            "2024-06-14T20:00",
            "2024-06-16T23:00",
            2,
        ),  # Friday to 16:00, open again on Sunday
        (ALWAYS, "2024-06-12T10:00", "2024-06-12T10:00", 0),
    ],
)
def test_open_time_counts_only_hours_within_sessions(
    calendar: MarketCalendar, start: str, end: str, hours: float
) -> None:
    assert open_ms(calendar, span(start, end)) == hours * HOUR


def test_a_series_is_at_rest_if_its_last_bar_is_a_month_old() -> None:
    now = parse_iso("2024-06-12")
    assert is_at_rest(None, now)
    assert is_at_rest(parse_iso("2024-05-12"), now)
    assert not is_at_rest(parse_iso("2024-05-14"), now)

"""What can be built of what, and regular hours cut out of extended ones."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np
import pytest

from src.data.core.calendars.calendar import MarketCalendar
from src.data.core.calendars.sessions import SessionCalendar, SessionTable
from src.data.core.model.identity.kind import Kind
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.prices.conversions import (
    build_objection,
    regular_hours,
    sources_for,
    sources_of_kind,
)
from src.data.errors import KindMismatchError
from tests.core.calendars.market import (
    ALWAYS,
    BOMBAY,
    FX,
    HONG_KONG,
    LONDON,
    NEW_YORK,
    TOKYO,
    shown,
    span,
)

ALL = [
    Timeframe.parse(label)
    for label in "1m 2m 3m 5m 15m 30m 45m 1h 90m 2h 4h 6h 8h 12h 1d 2d 3d 1w 2w 1M 3M".split()
]
SUMMER = span("2024-06-01", "2024-07-01")


def sources(
    target: str, calendar: MarketCalendar | None, *, anchor: str = "session",
    source_anchor: str = "session", seen: Span | None = None,
) -> str:  # fmt: skip
    found = sources_for(Timeframe.parse(target), ALL, calendar, anchor=anchor,
                        source_anchor=source_anchor, span=seen)  # fmt: skip
    return " ".join(t.label for t in found)


@pytest.mark.parametrize(
    "target, expected",
    [
        ("1m", ""),
        ("45m", "15m 5m 3m 1m"),
        ("1h", "30m 15m 5m 3m 2m 1m"),
        ("90m", "45m 30m 15m 5m 3m 2m 1m"),
        ("2h", "1h 30m 15m 5m 3m 2m 1m"),
        ("4h", "2h 1h 30m 15m 5m 3m 2m 1m"),
        ("1d", ""),
        ("3d", "1d"),
        ("1w", "1d"),
        ("2w", "1d"),
        ("1M", "1d"),
        ("3M", "1d"),
    ],
)
def test_a_market_with_sessions(target: str, expected: str) -> None:
    assert sources(target, NEW_YORK) == expected
    assert sources(target, FX) == expected
    assert sources(target, None) == expected


@pytest.mark.parametrize(
    "target, expected",
    [
        ("1d", "12h 8h 6h 4h 2h 90m 1h 45m 30m 15m 5m 3m 2m 1m"),
        ("1w", "1d 12h 8h 6h 4h 2h 90m 1h 45m 30m 15m 5m 3m 2m 1m"),
        ("2w", "1w 1d 12h 8h 6h 4h 2h 90m 1h 45m 30m 15m 5m 3m 2m 1m"),
        ("3d", "1d 12h 8h 6h 4h 2h 90m 1h 45m 30m 15m 5m 3m 2m 1m"),
        ("6d", "3d 2d 1d 12h 8h 6h 4h 2h 90m 1h 45m 30m 15m 5m 3m 2m 1m"),
        ("3M", "1M 1d 12h 8h 6h 4h 2h 90m 1h 45m 30m 15m 5m 3m 2m 1m"),
        ("1h", "30m 15m 5m 3m 2m 1m"),
    ],
)
def test_a_market_that_never_closes(target: str, expected: str) -> None:
    assert sources(target, ALWAYS) == expected
    # Anchors make no difference there.
    assert sources(target, ALWAYS, source_anchor="clock") == expected


@pytest.mark.parametrize(
    "calendar, target, expected",
    [
        (NEW_YORK, "1h", "30m 15m 5m 3m 2m 1m"),  # 9:30
        (NEW_YORK, "2h", "30m 15m 5m 3m 2m 1m"),  # never from whole hours
        (LONDON, "2h", "30m 15m 5m 3m 2m 1m"),  # 8:00: not even where they would fit
        (BOMBAY, "1h", "15m 5m 3m 1m"),  # 9:15
        (TOKYO, "1h", "30m 15m 5m 3m 2m 1m"),  # 9:00, and 12:30 after lunch
        (FX, "4h", "2h 1h 30m 15m 5m 3m 2m 1m"),  # stands on the clock whatever is said
        (NEW_YORK, "1w", "1d"),
    ],
)
def test_from_one_anchor_to_the_other(calendar: MarketCalendar, target: str, expected: str) -> None:
    there = sources(target, calendar, source_anchor="clock", seen=SUMMER)
    back = sources(target, calendar, anchor="clock", seen=SUMMER)
    assert there == back == expected


def test_without_a_span_nobody_knows_where_a_market_opens() -> None:
    assert sources("1h", NEW_YORK, source_anchor="clock") == ""
    assert sources("1h", None, source_anchor="clock", seen=SUMMER) == ""
    assert (
        sources("1h", NEW_YORK, source_anchor="clock", seen=span("2024-06-15", "2024-06-16")) == ""
    )


def test_a_step_that_does_not_divide_the_day_is_counted_from_the_open() -> None:
    assert sources("50m", NEW_YORK, anchor="clock") == "5m 2m 1m"
    assert (
        sources("50m", NEW_YORK, anchor="clock", source_anchor="clock", seen=SUMMER) == "5m 2m 1m"
    )
    assert sources("7h", NEW_YORK, anchor="clock", source_anchor="clock") == ""


def test_each_source_once_and_in_order() -> None:
    labels = ["5m", "30m", "5m", "1h", "1m"]
    found = sources_for(Timeframe.parse("1h"), map(Timeframe.parse, labels))
    assert [t.label for t in found] == ["30m", "5m", "1m"]


@pytest.mark.parametrize(
    "source, target, calendar, reason",
    [
        ("1h", "1h", NEW_YORK, "not shorter"),
        ("1d", "1h", ALWAYS, "not shorter"),
        ("1h", "90m", ALWAYS, "do not divide"),
        ("1m", "1d", NEW_YORK, "auctions"),
        ("1h", "1w", FX, "auctions"),
        ("1w", "1M", NEW_YORK, "ex-date"),
        ("1w", "1M", ALWAYS, "do not divide"),
        ("2d", "1w", ALWAYS, "do not divide"),
        ("7h", "1d", ALWAYS, "do not divide"),
    ],
)
def test_the_reason_why_a_timeframe_cannot_be_built_is_given(
    source: str, target: str, calendar: MarketCalendar, reason: str
) -> None:
    assert reason in build_objection(Timeframe.parse(source), Timeframe.parse(target), calendar)


OPEN = Kind("regular", "session", "consolidated", "USD")
CLOCK = Kind("regular", "clock", "consolidated", "USD")


@pytest.mark.parametrize(
    "calendar, target, own, wanted, expected",
    [
        (NEW_YORK, "1h", CLOCK, OPEN, "30m 15m 5m 3m 2m 1m"),
        (NEW_YORK, "1h", OPEN, CLOCK, "30m 15m 5m 3m 2m 1m"),
        (NEW_YORK, "1h", Kind("extended", "clock"), OPEN, "30m 15m 5m 3m 2m 1m"),
        (NEW_YORK, "1h", Kind("extended", "clock"), CLOCK, "30m 15m 5m 3m 2m 1m"),
        # Of the very length where both put them in the same places: cut, or as they are.
        (NEW_YORK, "15m", Kind("extended", "clock"), OPEN, "15m 5m 3m 1m"),
        (NEW_YORK, "30m", CLOCK, OPEN, "30m 15m 5m 3m 2m 1m"),
        (BOMBAY, "30m", CLOCK, OPEN, "15m 5m 3m 1m"),  # opens at 9:15
        (BOMBAY, "1h", CLOCK, OPEN, "15m 5m 3m 1m"),
        (NEW_YORK, "1h", OPEN, OPEN, ""),
        (NEW_YORK, "1h", Kind("extended", "session"), Kind("extended", "clock"), ""),
        (NEW_YORK, "1h", OPEN, Kind("extended", "clock"), ""),
        (NEW_YORK, "1h", CLOCK, Kind("regular", "session", "elsewhere"), ""),
        (NEW_YORK, "1h", CLOCK, Kind("regular", "session", unit="GBp"), ""),
        (NEW_YORK, "1d", Kind("extended", "session"), OPEN, ""),
    ],
)
def test_from_one_kind_to_another(
    calendar: MarketCalendar, target: str, own: Kind, wanted: Kind, expected: str
) -> None:
    found = sources_of_kind(Timeframe.parse(target), ALL, calendar, offered=own, wanted=wanted,
                            span=SUMMER)  # fmt: skip
    assert " ".join(t.label for t in found) == expected


def test_whole_hours_keep_their_anchor() -> None:
    hour, four = Timeframe.parse("1h"), Timeframe.parse("4h")
    assert "anchor" in build_objection(hour, four, NEW_YORK, source_anchor="clock")
    assert build_objection(hour, four, NEW_YORK, source_anchor="clock", anchor="clock") == ""


# --- regular hours ---------------------------------------------------------------------------


def around_the_clock(timeframe: str, start: str, end: str) -> BarTable:
    """Return a bar for every step in the range, as extended hours could have them."""
    stamps = ALWAYS.opens(Timeframe.parse(timeframe), span(start, end))
    return BarTable.of_columns(stamps, [np.arange(len(stamps), dtype=float)] * 5)


@pytest.mark.parametrize("timeframe", ["1m", "5m", "15m", "30m"])
@pytest.mark.parametrize(
    "calendar, start, end, hours",
    [
        (NEW_YORK, "2024-06-12", "2024-06-13", [("13:30", "20:00")]),
        (NEW_YORK, "2024-01-12", "2024-01-13", [("14:30", "21:00")]),
        (NEW_YORK, "2024-11-29", "2024-11-30", [("14:30", "18:00")]),  # a half day
        (NEW_YORK, "2024-06-19", "2024-06-20", []),  # a holiday
        (NEW_YORK, "2024-06-15", "2024-06-17", []),  # a weekend
        (HONG_KONG, "2024-06-12", "2024-06-13", [("01:30", "04:00"), ("05:00", "08:00")]),
        (LONDON, "2024-06-12", "2024-06-13", [("07:00", "15:30")]),
    ],
)
def test_regular_hours_are_cut_out_of_extended_hours(
    calendar: MarketCalendar, start: str, end: str, hours: list[tuple[str, str]], timeframe: str
) -> None:
    step = Timeframe.parse(timeframe)
    extended = around_the_clock(timeframe, start, end)
    left = regular_hours(extended, step, calendar)
    expected = [
        stamp
        for begin, close in hours
        for stamp in range(parse_iso(f"{start}T{begin}"), parse_iso(f"{start}T{close}"),
                           step.step_ms or 0)
    ]  # fmt: skip
    assert left.stamps.tolist() == expected
    # The rows are those of the table, values and all.
    assert left.close.tolist() == [extended.stamps.tolist().index(s) for s in expected]


def test_a_bar_across_the_open_is_left_out() -> None:
    # Bombay: 9:15 to 15:30, which is 3:45 to 10:00 in UTC.
    left = regular_hours(around_the_clock("30m", "2024-06-12", "2024-06-13"),
                         Timeframe.parse("30m"), BOMBAY)  # fmt: skip
    assert shown(left.stamps)[0] == "2024-06-12T04:00"
    assert shown(left.stamps)[-1] == "2024-06-12T09:30"


def test_sessions_that_begin_the_evening_before() -> None:
    # Sunday from 17:00 New York, which is 21:00 in UTC.
    left = regular_hours(around_the_clock("30m", "2024-06-16T12:00", "2024-06-17"),
                         Timeframe.parse("30m"), FX)  # fmt: skip
    assert shown(left.stamps)[0] == "2024-06-16T21:00"


def test_sessions_that_end_the_morning_after() -> None:
    monday = parse_iso("2024-06-10")
    opened, closed = parse_iso("2024-06-10T20:00"), parse_iso("2024-06-11T02:00")
    table = SessionTable.of([(monday, opened, closed, closed, closed)])
    calendar = SessionCalendar("X", lambda: ZoneInfo("UTC"), table.dated)
    left = regular_hours(around_the_clock("30m", "2024-06-11", "2024-06-12"),
                         Timeframe.parse("30m"), calendar)  # fmt: skip
    assert (len(left), shown(left.stamps)[-1]) == (4, "2024-06-11T01:30")


def test_a_market_that_never_closes_keeps_all() -> None:
    table = around_the_clock("30m", "2024-06-12", "2024-06-14")
    assert len(regular_hours(table, Timeframe.parse("30m"), ALWAYS)) == 96


@pytest.mark.parametrize("timeframe", ["45m", "1h", "1d", "1M"])
def test_longer_bars_cannot_be_cut(timeframe: str) -> None:
    with pytest.raises(KindMismatchError, match=f"{timeframe} bars .*at most 30m"):
        regular_hours(BarTable.empty(), Timeframe.parse(timeframe), NEW_YORK)


def test_regular_hours_of_an_empty_table_are_empty() -> None:
    assert len(regular_hours(BarTable.empty(), Timeframe.parse("5m"), NEW_YORK)) == 0

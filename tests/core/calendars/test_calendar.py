"""What holds for every calendar, and how one is found."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.calendars.calendar import (
    MarketCalendar,
    calendar_for,
    day_span,
    first_unclosed,
    opened_and_coming,
    session_date,
)
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.time.instant import DAY_MS, iso, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import ConfigError
from tests.core.cache.counts import examples
from tests.core.calendars.market import (
    ALWAYS,
    APPLE,
    BHP,
    BITCOIN,
    CHICAGO,
    EMINI,
    EURO,
    FX,
    HONG_KONG,
    LONDON,
    NEW_YORK,
    SYDNEY,
    TOKYO,
    TOYOTA,
)
from tests.effort import calls_of

CALENDARS = [ALWAYS, FX, NEW_YORK, LONDON, TOKYO, HONG_KONG, SYDNEY, CHICAGO]
TIMEFRAMES = [Timeframe.parse(t) for t in "5m 15m 45m 1h 2h 4h 5h 8h 1d 2d 3d 1w 2w 1M 3M".split()]
DECADE = (parse_iso("2015-01-01"), parse_iso("2025-01-01"))

calendars = st.sampled_from(CALENDARS)
timeframes = st.sampled_from(TIMEFRAMES)
anchors = st.sampled_from(["session", "clock"])
moments = st.integers(DECADE[0] // 60_000, DECADE[1] // 60_000).map(lambda minute: minute * 60_000)
lengths = st.integers(0, 200 * DAY_MS)
some = settings(derandomize=True, max_examples=examples(120), deadline=None, database=None)


@some
@given(calendars, timeframes, anchors, moments, lengths, st.floats(0, 1))
def test_opens_ascend_inside_the_span_and_any_cut_joins(
    calendar: MarketCalendar, step: Timeframe, anchor: str, start: int, length: int, share: float
) -> None:
    whole = Span(start, start + length)
    cut = start + int(length * share)
    stamps = calendar.opens(step, whole, anchor)
    assert stamps.dtype == np.int64
    assert (np.diff(stamps) > 0).all()
    assert all(stamp in whole for stamp in (stamps[[0, -1]].tolist() if len(stamps) else []))
    left, right = Span(whole.start, cut), Span(cut, whole.end)
    parts = [calendar.opens(step, left, anchor), calendar.opens(step, right, anchor)]
    assert np.concatenate(parts).tolist() == stamps.tolist()


@some
@given(calendars, timeframes, anchors, moments, lengths)
def test_bars_close_after_they_open_in_order_and_settle_no_earlier(
    calendar: MarketCalendar, step: Timeframe, anchor: str, start: int, length: int
) -> None:
    stamps = calendar.opens(step, Span(start, start + length), anchor)
    closed = calendar.closes(step, stamps, anchor)
    settled = calendar.settles(step, stamps, 120_000, anchor)
    assert (closed > stamps).all()
    assert (np.diff(closed) > 0).all()
    assert (settled >= closed + 120_000).all()
    if step.is_intraday and step.step_ms:
        assert (closed - stamps <= step.step_ms).all()
        assert (closed[:-1] <= stamps[1:]).all()


@some
@given(calendars, timeframes, anchors, moments, lengths)
def test_answers_do_not_depend_on_what_is_asked_along(
    calendar: MarketCalendar, step: Timeframe, anchor: str, start: int, length: int
) -> None:
    stamps = calendar.opens(step, Span(start, start + length), anchor)
    together = calendar.closes(step, stamps, anchor)
    for at in {0, len(stamps) // 2, len(stamps) - 1} if len(stamps) else ():
        assert calendar.closes(step, stamps[at : at + 1], anchor)[0] == together[at]


@some
@given(calendars, timeframes, anchors, moments, st.integers(1, 60))
def test_walking_back_and_forth_agrees_with_opens(
    calendar: MarketCalendar, step: Timeframe, anchor: str, end: int, count: int
) -> None:
    stamp = calendar.back(step, end, count, anchor)
    between = calendar.opens(step, Span(stamp, end), anchor)
    assert (len(between), between[0]) == (count, stamp)
    coming = calendar.next_open(step, end, anchor)
    assert calendar.opens(step, Span(end, coming + 1), anchor).tolist() == [coming]


@some
@given(calendars, timeframes, anchors, moments)
def test_the_first_unclosed_bar_parts_the_closed_from_the_others(
    calendar: MarketCalendar, step: Timeframe, anchor: str, now: int
) -> None:
    stamp = first_unclosed(calendar, step, now, anchor)
    around = calendar.opens(step, Span(now - 120 * DAY_MS, now + 120 * DAY_MS), anchor)
    closed = calendar.closes(step, around, anchor) <= now
    assert (closed == (around < stamp)).all()


# --- finding one -----------------------------------------------------------------------------


def test_one_object_per_calendar() -> None:
    assert calendar_for(Instrument("MSFT", "stock", "XNYS", "America/New_York")) is NEW_YORK
    assert [c.name for c in (ALWAYS, FX, TOKYO)] == ["24/7", "FX", "XTKS"]
    assert [c.timezone for c in (ALWAYS, FX, TOKYO)] == ["UTC", "America/New_York", "Asia/Tokyo"]


def test_nothing_heavy_is_imported_before_an_exchange_is_asked() -> None:
    code = """
import sys
from datetime import date
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.model.time.span import Span
from src.data.core.calendars import calendar, finality, ranges
apple = Instrument("AAPL", "stock", "XNYS", "America/New_York")
euro = Instrument("EURUSD", "forex", "FX", "America/New_York")
now = 1718204400000
for instrument in apple, euro, Instrument("BTCUSDT", "crypto"):
    calendar.calendar_for(instrument)
    calendar.day_span(instrument, date(2024, 6, 12))
    ranges.resolve_range(instrument, Timeframe(1, "d"), "2024-01-02", None, now)
    ranges.resolve_range(instrument, Timeframe(1, "h"), "2024-01-02", "2024-02-03", now)
calendar.calendar_for(euro).opens(Timeframe(1, "h"), Span(now, now + 86400000))
print(sorted({"pandas", "exchange_calendars", "requests"} & set(sys.modules)))
"""
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_a_year_of_minutes_is_quick() -> None:
    year = Span(parse_iso("2024-01-01"), parse_iso("2025-01-01"))
    stamps = NEW_YORK.opens(Timeframe(1, "m"), year)
    assert len(stamps) == 252 * 390 - 3 * 180  # three half days in 2024
    # Not a call for each minute, nor one for each session.
    assert calls_of(lambda: NEW_YORK.opens(Timeframe(1, "m"), year)) < 252


# --- dates to instants -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "instrument, day, start, end",
    [
        (BITCOIN, "2024-06-12", "2024-06-12T00:00:00Z", "2024-06-13T00:00:00Z"),
        (APPLE, "2024-06-12", "2024-06-12T04:00:00Z", "2024-06-13T04:00:00Z"),
        (APPLE, "2024-06-15", "2024-06-15T04:00:00Z", "2024-06-16T04:00:00Z"),  # Saturday
        (APPLE, "2024-03-10", "2024-03-10T05:00:00Z", "2024-03-11T04:00:00Z"),  # 23 hours
        (APPLE, "2024-11-03", "2024-11-03T04:00:00Z", "2024-11-04T05:00:00Z"),  # 25 hours
        (TOYOTA, "2024-06-12", "2024-06-11T15:00:00Z", "2024-06-12T15:00:00Z"),
        (EURO, "2024-06-12", "2024-06-11T21:00:00Z", "2024-06-12T21:00:00Z"),
        (EMINI, "2024-06-12", "2024-06-11T22:00:00Z", "2024-06-12T21:00:00Z"),
        # The calendar closes at noon; what it lists need not, and those hours are of no other date.
        (EMINI, "2024-07-04", "2024-07-03T22:00:00Z", "2024-07-04T21:00:00Z"),
        (EMINI, "2024-06-15", "2024-06-14T22:00:00Z", "2024-06-15T21:00:00Z"),  # Saturday
    ],
)
def test_the_span_of_a_date_follows_the_instruments_sessions(
    instrument: Instrument, day: str, start: str, end: str
) -> None:
    assert [iso(ms) for ms in day_span(instrument, date.fromisoformat(day))] == [start, end]


@pytest.mark.parametrize(
    "instrument, now, day",
    [
        (BITCOIN, "2024-06-12T23:59", "2024-06-12"),
        (APPLE, "2024-06-13T03:59", "2024-06-12"),
        (APPLE, "2024-06-13T04:00", "2024-06-13"),
        (BHP, "2024-06-12T23:30", "2024-06-13"),
        (EURO, "2024-06-12T20:59", "2024-06-12"),
        (EURO, "2024-06-12T21:00", "2024-06-13"),
        (EMINI, "2024-06-12T22:00", "2024-06-13"),
    ],
)
def test_the_session_date_of_an_instant(instrument: Instrument, now: str, day: str) -> None:
    assert session_date(instrument, parse_iso(now)).isoformat() == day


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../secret", ""])
def test_an_unknown_time_zone_is_named(zone: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown time zone .* for ABC"):
        day_span(Instrument("ABC", "stock", "XNYS", zone), date(2024, 6, 12))


@pytest.mark.parametrize(
    ("instrument", "time", "latest", "coming"),
    [
        (BHP, "2024-02-11T22:59:59.999", date(2024, 2, 9), date(2024, 2, 12)),
        (BHP, "2024-02-11T23:00", date(2024, 2, 12), date(2024, 2, 13)),  # Sunday in UTC
        (APPLE, "2024-06-03T13:29:59.999", date(2024, 5, 31), date(2024, 6, 3)),
        (APPLE, "2024-06-03T13:30", date(2024, 6, 3), date(2024, 6, 4)),
        (APPLE, "2024-07-04T12:00", date(2024, 7, 3), date(2024, 7, 5)),
        (BITCOIN, "2024-06-08T00:00", date(2024, 6, 8), date(2024, 6, 9)),
    ],
)
def test_sessions_are_divided_into_opened_and_coming_ones(
    instrument: Instrument, time: str, latest: date, coming: date
) -> None:
    opened, others = opened_and_coming(calendar_for(instrument), parse_iso(time))
    assert (opened[-1].day, others[0].day) == (latest, coming)
    days = [session.day for session in (*opened, *others)]
    assert days == sorted(set(days))

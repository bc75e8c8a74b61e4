"""Tests which bars had closed by an instant."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.calendars import ranges
from src.data.core.calendars.calendar import calendar_for
from src.data.core.calendars.ranges import closing_time, resolve_range
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, iso, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import BadRangeError
from tests.core.calendars.market import APPLE, BHP, BITCOIN, EMINI, EURO, TOYOTA

NOW = parse_iso("2024-06-12T15:00:30")


def known(
    instrument: Instrument, timeframe: str, closed_by: Any, start: Any = "2024-05-01",
    end: Any = None, bars: int | None = None,
) -> tuple[Span, int | None]:  # fmt: skip
    by = closing_time(instrument, closed_by, NOW)
    return resolve_range(instrument, Timeframe.parse(timeframe), start, end, NOW, bars, by)


def last(instrument: Instrument, timeframe: str, closed_by: Any, anchor: str = "session") -> str:
    """Return the stamp of the last bar that is meant."""
    span, _ = known(instrument, timeframe, closed_by)
    stamps = calendar_for(instrument).opens(Timeframe.parse(timeframe), span, anchor)
    return iso(int(stamps[-1]))[:16]


@pytest.mark.parametrize(
    "closed_by, timeframe, expected",
    [
        ("2024-06-03T12:00", "1h", "2024-06-03T11:00"),  # closes that very instant
        ("2024-06-03T11:59:59.999", "1h", "2024-06-03T10:00"),
        ("2024-06-03", "1h", "2024-06-03T23:00"),
        ("2024-06-03", "1d", "2024-06-03T00:00"),
        ("2024-06-03T23:59", "1d", "2024-06-02T00:00"),
        ("2024-06-09", "1w", "2024-06-03T00:00"),
        ("2024-06-08", "1w", "2024-05-27T00:00"),
        ("2024-05-31", "1M", "2024-05-01T00:00"),
    ],
)
def test_around_the_clock_a_bar_closes_with_its_step(
    closed_by: str, timeframe: str, expected: str
) -> None:
    assert last(BITCOIN, timeframe, closed_by) == expected


@pytest.mark.parametrize(
    "closed_by, timeframe, expected",
    [
        ("2024-06-03T20:00", "1d", "2024-06-03T00:00"),  # 16:00 in New York
        ("2024-06-03T19:59:59", "1d", "2024-05-31T00:00"),
        ("2024-06-03", "1d", "2024-06-03T00:00"),
        ("2024-06-02", "1d", "2024-05-31T00:00"),  # a Sunday
        (date(2024, 6, 7), "1w", "2024-06-03T00:00"),  # Friday is its last session
        (date(2024, 6, 6), "1w", "2024-05-27T00:00"),
        ("2024-05-31T20:00", "1M", "2024-05-01T00:00"),
        ("2024-06-03T20:00", "1h", "2024-06-03T19:30"),  # half an hour long
        ("2024-06-03T19:59", "1h", "2024-06-03T18:30"),
        ("2024-06-03T14:30", "1h", "2024-06-03T13:30"),
        ("2024-06-03T14:29", "1h", "2024-05-31T19:30"),
    ],
)
def test_at_an_exchange_a_bar_closes_with_its_session_at_the_latest(
    closed_by: Any, timeframe: str, expected: str
) -> None:
    assert last(APPLE, timeframe, closed_by) == expected


def test_a_half_day_closes_early() -> None:
    now = parse_iso("2024-07-10T00:00")
    for text, day in [("2024-07-03T17:00", "2024-07-03"), ("2024-07-03T16:59", "2024-07-02")]:
        by = closing_time(APPLE, text, now)
        found, _ = resolve_range(
            APPLE, Timeframe.parse("1d"), "2024-06-20", "2024-07-08", now, None, by
        )
        assert calendar_for(APPLE).opens(Timeframe.parse("1d"), found)[-1] == parse_iso(day)


@pytest.mark.parametrize(
    "instrument, closed_by, expected",
    [
        (EURO, "2024-06-03", "2024-06-03T21:00:00Z"),
        (EMINI, "2024-06-03", "2024-06-03T21:00:00Z"),
        (BHP, "2024-06-03", "2024-06-03T14:00:00Z"),
        (BITCOIN, "2024-06-03T12:00:00.000001", "2024-06-03T12:00:00Z"),
        (BITCOIN, "2030-01-01", iso(NOW)),
        (BITCOIN, date(2024, 6, 12), iso(NOW)),
    ],
)
def test_a_date_as_closed_by_means_its_sessions_close(
    instrument: Instrument, closed_by: Any, expected: str
) -> None:
    found = closing_time(instrument, closed_by, NOW)
    assert found is not None and iso(found) == expected
    if instrument in (EURO, EMINI, BHP):
        assert last(instrument, "1d", closed_by) == "2024-06-03T00:00"


def test_a_closed_by_in_the_future_does_not_limit_the_range() -> None:
    assert known(APPLE, "1d", "2025-01-01") == known(APPLE, "1d", None)
    assert known(APPLE, "1d", "2025-01-01", None) == known(APPLE, "1d", None, None)


def test_a_start_after_closed_by_gives_an_empty_range() -> None:
    span, count = known(APPLE, "1d", "2024-05-10", "2024-05-20", "2024-06-03")
    assert span == Span(parse_iso("2024-05-20"), parse_iso("2024-05-20"))
    assert count is None
    with pytest.raises(BadRangeError, match="is in the future"):
        known(APPLE, "1d", "2024-05-10", "2024-06-20")


@pytest.mark.parametrize(
    "wrong", ["soon", 20240603, float("nan"), np.datetime64("NaT"), "1899-01-01"]
)
def test_an_invalid_closed_by_is_refused_by_name(wrong: Any) -> None:
    with pytest.raises(BadRangeError, match=r"AAPL: closed_by .* (is not a time|is outside)"):
        closing_time(APPLE, wrong, NOW)


def test_a_count_goes_back_from_closed_by_or_from_an_earlier_end() -> None:
    day = Timeframe.parse("1d")
    for closed_by, end in [("2024-06-03", None), ("2024-06-03", "2024-06-07"),
                           ("2024-06-07", "2024-06-03")]:  # fmt: skip
        span, count = known(APPLE, "1d", closed_by, None, end, 3)
        assert count == 3
        stamps = calendar_for(APPLE).opens(day, span)
        assert [iso(s)[:10] for s in stamps.tolist()] == ["2024-05-30", "2024-05-31", "2024-06-03"]


def test_far_from_its_end_a_range_needs_no_calendar(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Instrument) -> None:
        raise AssertionError("a calendar was asked for")

    monkeypatch.setattr(ranges, "calendar_for", refuse)
    for timeframe in ("1h", "1d", "1M"):
        known(APPLE, timeframe, "2024-06-10", "2024-01-02", "2024-05-08")
    with pytest.raises(AssertionError):
        known(APPLE, "1d", "2024-06-10", "2024-01-02", "2024-06-10")


@settings(derandomize=True, max_examples=150, deadline=None)
@given(
    instrument=st.sampled_from([BITCOIN, EURO, APPLE, TOYOTA, BHP, EMINI]),
    timeframe=st.sampled_from(["5m", "30m", "1h", "90m", "4h", "1d", "3d", "1w", "1M"]),
    at=st.integers(parse_iso("2024-03-04"), parse_iso("2024-05-31")),
    grain=st.sampled_from([1, 30 * 60_000, HOUR_MS]),
    anchor=st.sampled_from(["session", "clock"]),
)
def test_a_range_holds_exactly_the_bars_closed_by_then(
    instrument: Instrument, timeframe: str, at: int, grain: int, anchor: str
) -> None:
    step, at = Timeframe.parse(timeframe), at - at % grain
    span, _ = resolve_range(instrument, step, "2024-02-01", "2024-06-10", NOW, None, at)
    calendar = calendar_for(instrument)
    around = calendar.opens(step, Span(span.start, at + 60 * DAY_MS), anchor)
    closed = calendar.closes(step, around, anchor) <= at
    assert ((around < span.end) == closed).all()

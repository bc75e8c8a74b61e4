"""Markets that never close, checked against plain counting."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from src.data.core.model.time.instant import day_ms, iso, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import BadRangeError
from tests.core.calendars.market import ALWAYS, bars, closes, opens, settles, span


def counted(minutes: int, start: str, end: str) -> list[int]:
    """Return all multiples of a step since 1970 in a span, by walking minute by minute."""
    first, last = parse_iso(start), parse_iso(end)
    step = minutes * 60_000
    return [ms for ms in range(first, last, 60_000) if ms % step == 0]


@pytest.mark.parametrize(
    "label, minutes", [("1m", 1), ("45m", 45), ("1h", 60), ("2h", 120), ("4h", 240), ("12h", 720)]
)
def test_steps_are_counted_from_1970(label: str, minutes: int) -> None:
    start, end = "2024-02-28T22:17", "2024-03-02T01:05"
    found = ALWAYS.opens(Timeframe.parse(label), span(start, end))
    assert found.tolist() == counted(minutes, start, end)


def test_days_of_a_leap_year() -> None:
    year = ALWAYS.opens(Timeframe(1, "d"), span("2024-01-01", "2025-01-01"))
    days = [date(2024, 1, 1) + timedelta(days=n) for n in range(366)]
    assert year.tolist() == [day_ms(day) for day in days]


def test_three_days_as_binance_counts_them() -> None:
    # 2024-01-01 is day 19723 = 3 * 6574 + 1: the second of its bucket.
    assert opens(ALWAYS, "3d", "2023-12-30", "2024-01-10") == [
        "2023-12-31T00:00", "2024-01-03T00:00", "2024-01-06T00:00", "2024-01-09T00:00",
    ]  # fmt: skip


def test_weeks_start_on_monday() -> None:
    weeks = ALWAYS.opens(Timeframe(1, "w"), span("1965-01-01", "2030-01-01"))
    dates = [datetime.fromtimestamp(ms / 1000, UTC) for ms in weeks.tolist()]
    assert {(d.isoweekday(), d.hour) for d in dates} == {(1, 0)}
    assert len(dates) == 3392  # 23 737 days lie between 1965-01-04 and 2029-12-31


def test_two_week_bars_of_a_continuous_market_begin_on_mondays() -> None:
    assert opens(ALWAYS, "2w", "1969-12-29", "1970-02-01") == [
        "1969-12-29T00:00", "1970-01-12T00:00", "1970-01-26T00:00",
    ]  # fmt: skip


def test_months_have_their_own_lengths() -> None:
    assert bars(ALWAYS, "1M", "2023-12-15", "2024-04-01") == [
        "2024-01-01T00:00 > 2024-02-01T00:00",
        "2024-02-01T00:00 > 2024-03-01T00:00",
        "2024-03-01T00:00 > 2024-04-01T00:00",
    ]


def test_months_before_1970_begin_and_close_at_midnight() -> None:
    assert bars(ALWAYS, "1M", "1969-11-02", "1970-01-02") == [
        "1969-12-01T00:00 > 1970-01-01T00:00",
        "1970-01-01T00:00 > 1970-02-01T00:00",
    ]


def test_quarters_of_a_year() -> None:
    assert opens(ALWAYS, "3M", "2024-01-01", "2025-01-01") == [
        "2024-01-01T00:00", "2024-04-01T00:00", "2024-07-01T00:00", "2024-10-01T00:00",
    ]  # fmt: skip


def test_a_continuous_market_has_24_hours_on_days_of_daylight_saving_changes() -> None:
    assert len(ALWAYS.opens(Timeframe(1, "h"), span("2024-03-10", "2024-03-11"))) == 24
    assert len(ALWAYS.opens(Timeframe(1, "h"), span("2024-11-03", "2024-11-04"))) == 24


def test_everything_settles_after_its_close() -> None:
    assert settles(ALWAYS, "1d", "2024-06-14") == ["2024-06-15T00:02"]
    assert settles(ALWAYS, "1M", "2024-02-01") == ["2024-03-01T00:02"]


def test_stamps_off_the_grid() -> None:
    assert closes(ALWAYS, "1h", "2024-06-12T10:17") == ["2024-06-12T11:17"]
    assert closes(ALWAYS, "1M", "2024-06-12") == ["2024-07-01T00:00"]


def test_next_open_and_back_step_over_a_continuous_market() -> None:
    noon = parse_iso("2024-06-12T12:00")
    assert iso(ALWAYS.next_open(Timeframe(1, "h"), noon)) == "2024-06-12T12:00:00Z"
    assert iso(ALWAYS.next_open(Timeframe(1, "h"), noon + 1)) == "2024-06-12T13:00:00Z"
    assert iso(ALWAYS.back(Timeframe(1, "h"), noon, 1)) == "2024-06-12T11:00:00Z"
    assert iso(ALWAYS.back(Timeframe(1, "h"), noon + 1, 1)) == "2024-06-12T12:00:00Z"
    assert iso(ALWAYS.back(Timeframe(1, "M"), noon, 7)) == "2023-12-01T00:00:00Z"


def test_a_thousand_million_minutes_are_refused_at_once() -> None:
    with pytest.raises(BadRangeError, match="1000000000 1m bars"):
        ALWAYS.back(Timeframe(1, "m"), parse_iso("2024-06-12"), 1_000_000_000)
    with pytest.raises(BadRangeError, match="positive"):
        ALWAYS.back(Timeframe(1, "m"), parse_iso("2024-06-12"), -1)
    with pytest.raises(BadRangeError, match="no 1d bar"):
        ALWAYS.next_open(Timeframe(1, "d"), parse_iso("2262-01-01"))


def test_only_years_that_a_frame_can_hold() -> None:
    years = ALWAYS.opens(Timeframe(12, "M"), Span(parse_iso("0001-01-01"), parse_iso("9000-01-01")))
    assert (len(years), iso(int(years[0])), iso(int(years[-1]))) == (
        362, "1900-01-01T00:00:00Z", "2261-01-01T00:00:00Z",
    )  # fmt: skip


def test_every_day_is_a_session() -> None:
    sessions = ALWAYS.sessions(date(2024, 2, 28), date(2024, 3, 1))
    assert [s.day.day for s in sessions] == [28, 29, 1]
    assert all(a.close_ms == b.open_ms for a, b in pairwise(sessions))

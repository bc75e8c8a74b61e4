"""Tests that a silent stream is detected only while the market is open."""

from __future__ import annotations

import pytest

from src.data.core.calendars.calendar import MarketCalendar
from src.data.core.model.time.instant import HOUR_MS
from src.data.feed.continuation import open_ms
from tests.core.calendars.market import ALWAYS, HONG_KONG, NEW_YORK, span

DAY = "2024-07-10"


@pytest.mark.parametrize("calendar, start, end, hours", [
    (ALWAYS, f"{DAY}T00:00Z", "2024-07-20T00:00Z", 240),
    (ALWAYS, f"{DAY}T15:00Z", f"{DAY}T14:00Z", 0),  # the clock was set back
    (NEW_YORK, f"{DAY}T13:00Z", f"{DAY}T14:30Z", 1),
    (NEW_YORK, f"{DAY}T20:00Z", "2024-07-11T13:30Z", 0),
    (NEW_YORK, f"{DAY}T19:00Z", "2024-07-11T14:30Z", 2),
    (NEW_YORK, "2024-07-12T20:00Z", "2024-07-15T13:30Z", 0),  # a weekend
    (NEW_YORK, "2024-07-03T17:00Z", "2024-07-05T13:30Z", 0),  # half a day, then a holiday
    (HONG_KONG, f"{DAY}T03:30Z", f"{DAY}T05:30Z", 1),  # lunch from 04:00 to 05:00
    (NEW_YORK, f"{DAY}T15:00Z", f"{DAY}T15:00Z", 0),
])  # fmt: skip
def test_silence_is_measured_only_in_open_hours(
    calendar: MarketCalendar, start: str, end: str, hours: float
) -> None:
    assert open_ms(calendar, span(start, end)) == hours * HOUR_MS

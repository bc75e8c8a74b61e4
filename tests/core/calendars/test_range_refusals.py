"""Ranges that are refused, each by the parameter, its value and the symbol."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.core.calendars.ranges import resolve_range
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.time.instant import parse_iso, to_ms
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import BadRangeError
from tests.core.calendars.market import APPLE, TOYOTA

NEW_YORK_SUMMER = timezone(timedelta(hours=-4))


def resolved(instrument: Instrument, timeframe: str, start: Any, end: Any) -> None:
    """Resolve a range at 15:00:30 UTC on Wednesday 2024-06-12."""
    now = parse_iso("2024-06-12T15:00:30")
    resolve_range(instrument, Timeframe.parse(timeframe), start, end, now)


@pytest.mark.parametrize(
    "bound",
    [
        pd.NaT, np.datetime64("NaT"), float("nan"), 20240603, 1717400000.0, True, "", "soon", "2024-13-01",
        "2024-00", "0000", "2024-W05", "30d", "-30x", "--3d", "-", "20240101-20240201",
        [], {}, pd.Series([1, 2]), np.datetime64("2024-06", "M"), pd.Period("2024-06"),
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_time_is_refused_by_name(bound: Any) -> None:
    with pytest.raises(BadRangeError, match=r"^AAPL: start .* is not a time"):
        resolved(APPLE, "1d", bound, None)
    with pytest.raises(BadRangeError, match=r"^AAPL: end .* is not a time"):
        resolved(APPLE, "1d", "2024-01-01", bound)


@pytest.mark.parametrize(
    "start, end, message",
    [
        (datetime(2024, 6, 4), datetime(2024, 6, 3), "is before start"),
        ("2024-06-04", "2024-06-03", "is before start"),
        (date(2024, 6, 4), datetime(2024, 6, 3, 12), "is before start"),
        ("2024-06-12T15:00:31", None, r"future \(now: 2024-06-12T15:00:30Z"),
        ("2024-06-13", None, "is in the future"),
        (datetime(2025, 1, 1), datetime(2026, 1, 1), "is in the future"),
        (date(1899, 12, 31), None, "outside the years 1900 to 2261"),
        (datetime.min, None, "outside the years 1900 to 2261"),
        ("2024-01-01", datetime.max.replace(tzinfo=NEW_YORK_SUMMER), "outside the years"),
        (np.datetime64("1700-01-01T00:00:00", "s"), None, "outside the years"),
        ("2024-01-01", "2262-01-01", "outside the years"),
    ],
)
@pytest.mark.parametrize("timeframe", ["1h", "1d"])
def test_impossible_ranges_name_parameter_value_and_symbol(
    start: Any, end: Any, message: str, timeframe: str
) -> None:
    with pytest.raises(BadRangeError, match=message) as refused:
        resolved(APPLE, timeframe, start, end)
    assert str(refused.value).startswith("AAPL: ")
    assert refused.value.symbol == "AAPL"
    bound = end if str(refused.value).startswith("AAPL: end") else start
    assert (repr(bound) if isinstance(bound, str) else str(bound)) in str(refused.value)


@pytest.mark.parametrize(
    "start, end",
    [
        (datetime(2024, 6, 3), datetime(2024, 6, 3)),
        ("2024-06-03T00:00", datetime(2024, 6, 3, tzinfo=UTC)),
    ],
)
def test_equal_instants_are_one_bar_of_hours_and_no_day(start: Any, end: Any) -> None:
    with pytest.raises(BadRangeError, match=r"^AAPL: end .* equals start"):
        resolved(APPLE, "1d", start, end)
    at = 1717372800000
    found = resolve_range(APPLE, Timeframe.parse("1h"), start, end, parse_iso("2024-06-12"))
    assert found == (Span(at, at + 1), None)


def test_tomorrow_at_the_venue_may_be_today_elsewhere() -> None:
    # At 15:00:30 UTC it is already the 13th in Tokyo, and still the 12th in New York.
    resolved(TOYOTA, "1h", "2024-06-13", None)
    with pytest.raises(BadRangeError, match="future"):
        resolved(APPLE, "1h", "2024-06-13", None)


def test_years_far_beyond_datetime_are_no_time() -> None:
    with pytest.raises(BadRangeError, match="AAPL: start"):
        resolved(APPLE, "1d", np.datetime64("90000-01-01", "s"), None)


class OddZone(tzinfo):
    """A zone that answers something else than how far it is ahead."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def utcoffset(self, moment: datetime | None) -> Any:
        """Return the answer, or raise it."""
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.mark.parametrize("answer", ["+01:00", 3600, timedelta(days=3), KeyError("no")], ids=repr)
@pytest.mark.parametrize("timeframe", ["1h", "1d"])
def test_a_zone_that_does_not_work_is_refused(answer: Any, timeframe: str) -> None:
    moment = datetime(2024, 6, 3, tzinfo=OddZone(answer))
    for bounds in [(moment, None), ("2024-06-01", moment)]:
        with pytest.raises(BadRangeError, match="is not a time: its time zone cannot be used"):
            resolved(APPLE, timeframe, *bounds)


def test_a_zone_that_knows_no_offset_is_none() -> None:
    moment = datetime(2024, 6, 3, tzinfo=OddZone(None))
    assert to_ms(moment) == parse_iso("2024-06-03")

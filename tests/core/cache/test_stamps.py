"""Tests the arithmetic of stamps for each length of bar."""

from __future__ import annotations

import pandas as pd
import pytest

from src.data.core.cache.legacy.reader import runs, session_stamps
from src.data.core.calendars.buckets import next_stamps
from src.data.core.model.market.bars import Stamps
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe


def stamps(*texts: str) -> Stamps:
    return pd.DatetimeIndex(pd.to_datetime(list(texts), format="ISO8601")).as_unit("ms").asi8


def texts(values: Stamps) -> list[str]:
    return [str(v)[:16] for v in pd.DatetimeIndex(values.astype("M8[ms]"))]


@pytest.mark.parametrize(
    ("timeframe", "stamp", "following"),
    [
        ("1m", "2024-02-29 23:59", "2024-03-01 00:00"),
        ("4h", "2024-02-29 20:00", "2024-03-01 00:00"),
        ("1w", "2024-02-26 00:00", "2024-03-04 00:00"),
        ("1M", "2024-02-01 00:00", "2024-03-01 00:00"),
        ("3M", "2024-11-01 00:00", "2025-02-01 00:00"),
    ],
)
def test_the_nominal_end_of_a_bar_is_one_timeframe_later(
    timeframe: str, stamp: str, following: str
) -> None:
    assert texts(next_stamps(stamps(stamp), Timeframe.parse(timeframe))) == [following]


def test_a_missing_bar_ends_a_run() -> None:
    found = stamps("2025-01-01", "2025-01-02", "2025-01-04", "2025-01-05", "2025-01-09")
    ends = stamps("2025-01-03", "2025-01-06", "2025-01-10")
    starts = found[[0, 2, 4]]
    expected = [Span(int(a), int(b)) for a, b in zip(starts, ends, strict=True)]
    assert runs(found, Timeframe.parse("1d")) == expected
    assert runs(found[:0], Timeframe.parse("1d")) == []


@pytest.mark.parametrize(
    ("timeframe", "stamp", "meant"),
    [
        ("1h", "2025-01-03 14:30", "2025-01-03 14:30"),
        ("1d", "2025-01-03 05:00", "2025-01-03 00:00"),  # midnight in New York
        ("1d", "2025-01-03 15:00", None),  # midnight in Tokyo, of the next day
        ("1w", "2025-01-03 00:00", "2024-12-30 00:00"),  # a Friday ends its week
        ("1w", "2025-01-05 00:00", None),  # a Sunday ends one or begins one
        ("1M", "2025-01-31 00:00", "2025-01-01 00:00"),
    ],
)
def test_timestamps_of_other_tools_become_session_dates_or_none(
    timeframe: str, stamp: str, meant: str | None
) -> None:
    ours, reported = session_stamps(stamps(stamp), Timeframe.parse(timeframe))
    assert (texts(ours)[0] if reported[0] else None) == meant

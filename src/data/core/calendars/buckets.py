"""Numbered buckets of days, weeks or months, and the conversion between numbers and timestamps.

Bucket ``k`` of a fixed step covers the time ``[origin + k * step, origin + (k + 1) * step)``. Days
and shorter steps are counted from 1970-01-01, as Binance counts ``3d``; weeks from Monday
1969-12-29; months from January 1970, so that ``3M`` is a calendar quarter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..model.market.bars import Stamps
from ..model.stored.coverage import Coverage
from ..model.time.edges import merged, spans_of
from ..model.time.instant import DAY_MS
from ..model.time.timeframe import Timeframe

_MONDAY_MS = -3 * DAY_MS  # 1970-01-01 was a Thursday


def bucket_of(timeframe: Timeframe, stamps: Stamps) -> Stamps:
    """Return the index of the bucket (period of a daily or longer bar) that contains each timestamp."""
    step_ms = timeframe.step_ms
    if step_ms is None:
        months = stamps.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
        return np.asarray(months // timeframe.count, dtype=np.int64)
    return np.asarray((stamps - _origin(timeframe)) // step_ms, dtype=np.int64)


def start_of(timeframe: Timeframe, buckets: Stamps) -> Stamps:
    """Return the first timestamp of each bucket."""
    step_ms = timeframe.step_ms
    if step_ms is None:
        months = (buckets * timeframe.count).astype("datetime64[M]")
        return months.astype("datetime64[ms]").astype(np.int64)
    return np.asarray(buckets * step_ms + _origin(timeframe), dtype=np.int64)


def bucket_at(timeframe: Timeframe, ms: int) -> int:
    """Return the index of the bucket that contains ``ms``."""
    step_ms = timeframe.step_ms
    if step_ms is None:
        return int(bucket_of(timeframe, np.array([ms], dtype=np.int64))[0])
    return (ms - _origin(timeframe)) // step_ms


def start_at(timeframe: Timeframe, bucket: int) -> int:
    """Return the first timestamp of one bucket."""
    step_ms = timeframe.step_ms
    if step_ms is None:
        return int(start_of(timeframe, np.array([bucket], dtype=np.int64))[0])
    return bucket * step_ms + _origin(timeframe)


def next_stamps(stamps: Stamps, timeframe: Timeframe) -> Stamps:
    """Return each bar's nominal closing time: one step later, or the end of the month."""
    if timeframe.step_ms is not None:
        return stamps + timeframe.step_ms
    months = stamps.astype("M8[ms]").astype("M8[M]") + np.timedelta64(timeframe.count, "M")
    return months.astype("M8[ms]").astype(np.int64)


def first_bucket_from(timeframe: Timeframe, ms: int) -> int:
    """Return the index of the first bucket that starts at or after ``ms``."""
    return bucket_at(timeframe, ms - 1) + 1


def _origin(timeframe: Timeframe) -> int:
    return _MONDAY_MS if timeframe.unit == "w" else 0


def doubted(coverage: Coverage, stamps: Stamps, timeframe: Timeframe, **changes: Any) -> Coverage:
    """Return the coverage, in which the bars at some timestamps are suspect, with further changes."""
    edges = np.column_stack([stamps, next_stamps(stamps, timeframe)])
    entries = [entry for span in spans_of(merged(edges)) for entry in coverage.within(span)]
    return coverage.overlaid(entry.having(state="suspect", **changes) for entry in entries)

"""Stamps by the length of bars alone, where no calendar is asked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...model.bars import Stamps
from ...model.instant import DAY_MS, MINUTE_MS, WEEK_MS
from ...model.span import Span
from ...model.timeframe import Timeframe

_MONDAY = 4 * DAY_MS  # 1970-01-05
_FRIDAY_NIGHT = 5 * DAY_MS


def next_stamps(stamps: Stamps, timeframe: Timeframe) -> Stamps:
    """Return the nominal close of each bar: the stamp one step later, or the month's end."""
    if timeframe.step_ms is not None:
        return stamps + timeframe.step_ms
    months = stamps.astype("M8[ms]").astype("M8[M]") + timeframe.count
    return months.astype("M8[ms]").astype(np.int64)


def runs(stamps: Stamps, timeframe: Timeframe) -> list[Span]:
    """Return the spans of ascending bars that follow one another at exactly the nominal step."""
    if not len(stamps):
        return []
    nexts = next_stamps(stamps, timeframe)
    breaks = np.flatnonzero(stamps[1:] != nexts[:-1]) + 1
    starts, ends = stamps[[0, *breaks]], nexts[[*(breaks - 1), -1]]
    return [Span(int(a), int(b)) for a, b in zip(starts, ends, strict=True)]


def session_stamps(stamps: Stamps, timeframe: Timeframe) -> tuple[Stamps, NDArray[np.bool_]]:
    """Bring other tools' stamps to ours, and tell which of them can be told for certain.

    Intraday stamps stay, and are told where they are a full minute. Days: the time is cut off up to
    noon, for a midnight west of Greenwich is on the same date in UTC; later it may be the day
    before, which is not told. Weeks: any working day means the Monday of its week, a weekend day
    could mean either. Months: the 1st.
    """
    if timeframe.is_intraday:
        return stamps, stamps % MINUTE_MS == 0
    told = stamps % DAY_MS <= DAY_MS // 2
    days = stamps - stamps % DAY_MS
    if timeframe.unit == "w":
        into_week = (days - _MONDAY) % WEEK_MS
        return days - into_week, told & (into_week < _FRIDAY_NIGHT)
    if timeframe.unit == "M":
        return days.astype("M8[ms]").astype("M8[M]").astype("M8[ms]").astype(np.int64), told
    return days, told

"""When a series is due: at the next close, or when a provisional bar settles.

"Now" is an argument: the earlier of our clock and the vendor's.
"""

from __future__ import annotations

import numpy as np

from ..model.timeframe import Timeframe
from .calendar import MarketCalendar, first_unclosed


def next_due(
    calendar: MarketCalendar,
    timeframe: Timeframe,
    *,
    now_ms: int,
    settle_ms: int,
    last_stamp: int | None,
    provisional_from: int | None,
    anchor: str = "session",
) -> int:
    """Return the earliest instant (UTC milliseconds) at which a new request could change the answer.

    That is the close of the next bar, or the settling of the first provisional one. It may lie in
    the past: a bar that has closed and is not stored can come at any moment.

    Args:
        calendar: when the market trades.
        timeframe: length of the bars.
        now_ms: UTC milliseconds.
        settle_ms: how long after its close an intraday bar may still change.
        last_stamp: the last stamp the series has an answer for, be it "no bar"; None when it has
            none, which makes the bar running at ``now_ms`` the next.
        provisional_from: stamp of the first provisional bar, or None where all are final.
        anchor: of the bars' kind.

    Raises:
        BadRangeError: no bar is expected before the year 2262.
    """
    if last_stamp is None:
        coming = first_unclosed(calendar, timeframe, now_ms, anchor)
    else:
        coming = calendar.next_open(timeframe, last_stamp + 1, anchor)
    due = int(calendar.closes(timeframe, np.array([coming]), anchor)[0])
    if provisional_from is None:
        return due
    first = np.array([provisional_from], dtype=np.int64)
    return min(due, int(calendar.settles(timeframe, first, settle_ms, anchor)[0]))

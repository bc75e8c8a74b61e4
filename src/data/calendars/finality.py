"""Whether a bar can still change: forming, then provisional (closed, not settled), then final.

What is "now" is an argument: the earlier of our clock and the vendor's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..model.bars import Stamps
from ..model.timeframe import Timeframe
from .calendar import MarketCalendar, first_unclosed

FINAL, PROVISIONAL, FORMING = 2, 1, 0


def states(
    calendar: MarketCalendar,
    timeframe: Timeframe,
    stamps: Stamps,
    now_ms: int,
    settle_ms: int,
    anchor: str = "session",
) -> NDArray[np.int8]:
    """Return ``FINAL``, ``PROVISIONAL`` or ``FORMING`` for every stamp.

    A bar has closed at the very instant of its close, and is final at the very instant at which it
    settles. Stamps that the calendar does not expect are judged by their own length. A bar ahead
    counts as forming.

    Args:
        calendar: when the market trades.
        timeframe: length of the bars.
        stamps: in any order.
        now_ms: UTC milliseconds.
        settle_ms: how long after its close an intraday bar may still change.
        anchor: of the bars' kind.
    """
    closed = calendar.closes(timeframe, stamps, anchor) <= now_ms
    settled = calendar.settles(timeframe, stamps, settle_ms, anchor) <= now_ms
    # FORMING is 0: each step taken adds one.
    return closed.astype(np.int8) + (closed & settled).astype(np.int8)


def forming_stamp(
    calendar: MarketCalendar, timeframe: Timeframe, now_ms: int, anchor: str = "session"
) -> int:
    """Return the stamp of the first expected bar not yet closed at ``now_ms``.

    Every expected bar before it has closed. While the market is shut it is the next one to come.

    Raises:
        BadRangeError: no bar is expected before the year 2262.
    """
    return first_unclosed(calendar, timeframe, now_ms, anchor)


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
    """Return the earliest instant at which asking again could change the answer.

    That is the close of the next bar, or the settling of the first provisional one. It may lie in
    the past: a bar that has closed and is not held can come at any moment.

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

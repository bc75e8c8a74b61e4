"""Computes when a bar closes, which is its timestamp in programs that step through time.

Everywhere else, a bar's timestamp is its opening time. A strategy that saw a bar at its opening
time would act before the bar had closed, and a resampler would put the bar into the wrong group.
"""

from __future__ import annotations

import numpy as np

from ..core.calendars.buckets import bucket_of, start_of
from ..core.calendars.calendar import MarketCalendar
from ..core.calendars.session import ALWAYS_OPEN
from ..core.model.market.bars import Stamps
from ..core.model.time.instant import SECOND_MS
from ..core.model.time.timeframe import Timeframe


class CloseTimes:
    """Maps bars' opening times to their closing times, in UTC milliseconds. Thread-safe.

    An intraday bar closes according to the market's calendar: the last hourly bar of a session, for
    example, may last only half an hour. A daily or longer bar closes at 23:59:59 on its last date,
    so that its date is the session date and it follows the minute bars of that day.

    Args:
        timeframe: Timeframe of the bars.
        calendar: Calendar of the market; None if it is unknown, in which case a bar lasts as long
            as its timeframe.
    """

    def __init__(self, timeframe: Timeframe, calendar: MarketCalendar | None = None) -> None:
        self._timeframe = timeframe
        self._calendar = calendar
        # A market that never closes needs no calendar; this method runs for every bar.
        always = calendar is None or calendar.name == ALWAYS_OPEN
        self._step_ms = timeframe.step_ms if always and timeframe.is_intraday else None

    def __call__(self, stamp_ms: int) -> int:
        """Return the closing time of one bar."""
        if self._step_ms is not None:
            return stamp_ms + self._step_ms
        return int(self.all(np.array([stamp_ms], dtype=np.int64))[0])

    def all(self, stamps: Stamps) -> Stamps:
        """Return the closing time of each bar."""
        if self._step_ms is not None:
            return stamps + self._step_ms
        if self._calendar is not None and self._timeframe.is_intraday:
            return self._calendar.closes(self._timeframe, stamps)
        next_ones = start_of(self._timeframe, bucket_of(self._timeframe, stamps) + 1)
        return next_ones - SECOND_MS

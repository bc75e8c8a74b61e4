"""By which instant a bar stands in a program that goes through time: its close.

Everywhere else a bar is named by its open. A strategy that is shown a bar by its open would act
before the bar was over, and a resampler would put it into the wrong group.
"""

from __future__ import annotations

import numpy as np

from ..calendars.buckets import bucket_of, start_of
from ..calendars.calendar import MarketCalendar
from ..calendars.session import ALWAYS_OPEN
from ..model.bars import Stamps
from ..model.instant import SECOND_MS
from ..model.timeframe import Timeframe


class Closing:
    """Opens to closes, in UTC milliseconds. Thread-safe.

    Intraday bars close when the market's calendar says so: the last hour of a session may be half
    an hour. Days and longer stand by 23:59:59 of their last date, so that their date is the
    session's and minutes of that day come before them.

    Args:
        timeframe: of the bars.
        calendar: of the market; None where it is not known: a bar lasts as long as its timeframe.
    """

    def __init__(self, timeframe: Timeframe, calendar: MarketCalendar | None = None) -> None:
        self._timeframe = timeframe
        self._calendar = calendar
        # What never closes needs no calendar: this is asked for every bar.
        always = calendar is None or calendar.name == ALWAYS_OPEN
        self._step = timeframe.step_ms if always and timeframe.is_intraday else None

    def __call__(self, stamp_ms: int) -> int:
        """Return the close of one bar."""
        if self._step is not None:
            return stamp_ms + self._step
        return int(self.all(np.array([stamp_ms], dtype=np.int64))[0])

    def all(self, stamps: Stamps) -> Stamps:
        """Return the close of each bar."""
        if self._step is not None:
            return stamps + self._step
        if self._calendar is not None and self._timeframe.is_intraday:
            return self._calendar.closes(self._timeframe, stamps)
        next_ones = start_of(self._timeframe, bucket_of(self._timeframe, stamps) + 1)
        return next_ones - SECOND_MS

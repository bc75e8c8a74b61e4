"""The calendar of markets that never close: every bar on the UTC grid is expected."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from ...errors import BadRangeError
from ..model.market.bars import Stamps
from ..model.time.instant import DAY_MS, day_ms, iso
from ..model.time.span import Span
from ..model.time.timeframe import Timeframe
from .buckets import bucket_at, bucket_of, first_bucket_from, start_at, start_of
from .localtime import SUPPORTED
from .session import ALWAYS_OPEN, Session


class ContinuousCalendar:
    """The calendar of a 24/7 market in UTC; the anchor does not matter.

    See :class:`~.calendar.MarketCalendar`.
    """

    name = ALWAYS_OPEN
    timezone = "UTC"

    def sessions(self, first: date, last: date) -> list[Session]:
        """Return one session for every UTC date from ``first`` to ``last``, both inclusive."""
        days = (first + timedelta(days=n) for n in range((last - first).days + 1))
        return [Session(day, day_ms(day), day_ms(day) + DAY_MS) for day in days]

    def unrecorded(self, span: Span) -> list[Span]:
        """Return an empty list, because a 24/7 market does not have holidays."""
        return []

    def opens(self, timeframe: Timeframe, span: Span, anchor: str = "session") -> Stamps:
        """Return the timestamps of all bars in ``[start, end)``, in ascending order."""
        supported = span.clip(SUPPORTED)
        first = first_bucket_from(timeframe, supported.start)
        last = first_bucket_from(timeframe, supported.end)
        return start_of(timeframe, np.arange(first, max(first, last), dtype=np.int64))

    def required(self, timeframe: Timeframe, span: Span, anchor: str = "session") -> Stamps:
        """Return the result of :meth:`opens`."""
        return self.opens(timeframe, span, anchor)

    def aligned(
        self, timeframe: Timeframe, stamps: Stamps, anchor: str = "session"
    ) -> NDArray[np.bool_]:
        """Return for each timestamp whether it is on the UTC grid."""
        return np.asarray(start_of(timeframe, bucket_of(timeframe, stamps)) == stamps, dtype=bool)

    def closes(self, timeframe: Timeframe, stamps: Stamps, anchor: str = "session") -> Stamps:
        """Return the UTC instant at which each bar closes, one step after its timestamp."""
        step_ms = timeframe.step_ms
        if step_ms is None:
            return start_of(timeframe, bucket_of(timeframe, stamps) + 1)
        return np.asarray(stamps + step_ms, dtype=np.int64)

    def settles(
        self, timeframe: Timeframe, stamps: Stamps, settle_ms: int, anchor: str = "session"
    ) -> Stamps:
        """Return the instant ``settle_ms`` after each close."""
        return self.closes(timeframe, stamps) + settle_ms

    def next_open(self, timeframe: Timeframe, stamp_ms: int, anchor: str = "session") -> int:
        """Return the first time at or after ``stamp_ms`` at which a bar opens.

        Raises:
            BadRangeError: No bar opens before the year 2262.
        """
        stamp = start_at(timeframe, first_bucket_from(timeframe, max(stamp_ms, SUPPORTED.start)))
        if stamp >= SUPPORTED.end:
            raise BadRangeError(f"no {timeframe} bar is expected after {iso(stamp_ms)}")
        return stamp

    def back(self, timeframe: Timeframe, end_ms: int, count: int, anchor: str = "session") -> int:
        """Return the timestamp of the ``count``-th bar before ``end_ms`` (exclusive).

        Raises:
            BadRangeError: ``count`` is not positive, or the bar would be before 1900.
        """
        if count < 1:
            raise BadRangeError(f"bars must be positive, not {count}")
        last = bucket_at(timeframe, min(end_ms, SUPPORTED.end) - 1)
        first = first_bucket_from(timeframe, SUPPORTED.start)
        if last - count + 1 < first:
            count_there = max(0, last - first + 1)
            raise BadRangeError(
                f"{count} {timeframe} bars before {iso(end_ms)} would go back beyond 1900; there "
                f"are only {count_there}"
            )
        return start_at(timeframe, last - count + 1)

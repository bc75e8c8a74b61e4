"""Determines which bars are final, and when that can next change.

A bar is final when it has closed and settled, according to the local clock or the vendor's,
whichever is behind. The current time is always an argument.
"""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

import numpy as np

from ..model.market.bars import Stamps
from ..model.stored.coverage import Coverage
from ..model.time.instant import DAY_MS, day_ms
from ..model.time.span import Span, coalesce
from .calendar import first_unclosed
from .grid import BarGrid

# Bars that opened before this time are certainly closed, even if the clock is wrong.
_LONG_PAST_MS = day_ms(date(2020, 1, 1))
# Number of bars to go back at most. A bar that is still unsettled so many bars later has no next
# session.
_LONGEST_UNSETTLED = 3


def settles_at(stamp: int, grid: BarGrid, settle_ms: int) -> int:
    """Return the instant from which the bar with a given timestamp is final.

    Args:
        stamp: Timestamp of the bar, UTC milliseconds.
        grid: Calendar, timeframe and anchor of the series.
        settle_ms: Time after its close during which an intraday bar may still change.
    """
    return int(grid.settles(np.array([stamp], dtype=np.int64), settle_ms)[0])


def newest_settled(grid: BarGrid, settle_ms: int, now_ms: int) -> int | None:
    """Return the timestamp of the latest expected bar that is final at ``now_ms``, or None."""
    cursor = first_unclosed(grid.calendar, grid.timeframe, now_ms - settle_ms, grid.anchor)
    for _ in range(_LONGEST_UNSETTLED):
        cursor = grid.back(cursor, 1)
        if settles_at(cursor, grid, settle_ms) <= now_ms:
            return cursor
    return None


def first_unsettled(stamps: Stamps, grid: BarGrid, settle_ms: int, now_ms: int) -> int | None:
    """Return the first of the ascending ``stamps`` whose bar is not final at ``now_ms``, or None."""
    return settling(stamps, grid, settle_ms, now_ms)[0] if len(stamps) else None


def settling(stamps: Stamps, grid: BarGrid, settle_ms: int, now_ms: int) -> tuple[int | None, int]:
    """Return :func:`first_unsettled` of at least one bar, and the instant from which the last is final."""
    settles = grid.settles(stamps, settle_ms)
    final = int(np.count_nonzero(settles <= now_ms))
    return None if final == len(stamps) else int(stamps[final]), int(settles[-1])


class Finality(NamedTuple):
    """The timestamps that separate an answer's final bars from its other bars.

    Attributes:
        settled_before: Bars before this timestamp have settled.
        vouched_before: Bars before this timestamp have closed, as shown by something other than the
            local clock.
    """

    settled_before: int
    vouched_before: int

    def final_before(self, span: Span) -> int:
        """Return the timestamp, limited to ``span``, before which the bars in ``span`` are final."""
        return min(max(span.start, min(self)), span.end)


def finality_of(
    answered: Span, stamps: Stamps, grid: BarGrid, settle_ms: int, now_ms: int, *, is_dated: bool
) -> Finality:
    """Determine the timestamp up to which the bars of an answer are final.

    Args:
        answered: Span that the answer covers.
        stamps: Timestamps of the answer's closed bars, ascending.
        grid: Calendar, timeframe and anchor of the series.
        settle_ms: Time after its close during which an intraday bar may still change.
        now_ms: Time of the answer, UTC milliseconds.
        is_dated: Whether the vendor reported the time. If not, ``now_ms`` is from the local clock,
            which might be wrong. Such a time is trusted only for bars at least a day older than the
            latest bar, and for bars from years ago.
    """
    late = first_unsettled(stamps, grid, settle_ms, now_ms)
    settled_before = answered.end if late is None else late
    if is_dated:
        return Finality(settled_before, answered.end)
    if not len(stamps):
        return Finality(settled_before, answered.start)
    last_day = np.searchsorted(stamps, stamps[-1] - DAY_MS, side="right")
    return Finality(settled_before, max(int(stamps[last_day]), min(answered.end, _LONG_PAST_MS)))


def due_spans(coverage: Coverage, grid: BarGrid, settle_ms: int, now_ms: int) -> list[Span]:
    """Return the provisional spans that have settled by ``now_ms`` and must be fetched again.

    Spans with an expiry time are left out; they are fetched again when they expire.

    Args:
        coverage: Spans for which vendors have answered.
        grid: Calendar, timeframe and anchor of the series.
        settle_ms: Time after its close during which an intraday bar may still change.
        now_ms: Current time in UTC milliseconds.
    """
    due: list[Span] = []
    for entry in coverage.only(lambda c: c.state == "provisional" and c.expires is None):
        stamps = grid.opens(entry.span)
        if not len(stamps):
            due.append(entry.span)
            continue
        late = first_unsettled(stamps, grid, settle_ms, now_ms)
        if late is None:
            due.append(entry.span)
        elif late > stamps[0]:
            due.append(Span(entry.span.start, late))
    return coalesce(due)


def series_due(
    grid: BarGrid,
    *,
    now_ms: int,
    settle_ms: int,
    last_stamp: int | None,
    provisional_from: int | None,
) -> int:
    """Return the earliest instant (UTC ms) at which another request could change a series.

    This is when the next bar closes or the first provisional one settles, whichever is earlier. It
    may be in the past, because a bar that has closed but is not stored may become available at any
    moment.

    Args:
        grid: Calendar, timeframe and anchor of the series.
        now_ms: Current time in UTC milliseconds.
        settle_ms: Time after its close during which an intraday bar may still change.
        last_stamp: Last timestamp for which the series has an answer, even if the answer is "no
            bar". If None, the next bar is the one forming at ``now_ms``.
        provisional_from: Timestamp of the first provisional bar, or None if all are final.

    Raises:
        BadRangeError: No bar is expected before the year 2262.
    """
    if last_stamp is None:
        coming = first_unclosed(grid.calendar, grid.timeframe, now_ms, grid.anchor)
    else:
        coming = grid.next_open(last_stamp + 1)
    due = int(grid.closes(np.array([coming], np.int64))[0])
    if provisional_from is None:
        return due
    return min(due, settles_at(provisional_from, grid, settle_ms))

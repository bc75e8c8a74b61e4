"""The age of a series in its market's own time: nights, weekends and holidays do not count."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from ..calendars.calendar import MarketCalendar
from ..calendars.finality import newest_settled
from ..calendars.grid import BarGrid
from ..model.stored.coverage import Coverage
from ..model.time.instant import DAY_MS, date_of
from ..model.time.span import Span, subtract
from ..model.time.timeframe import Timeframe

_A_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Freshness:
    """How far a series lags behind the bars that could be final by now.

    Attributes:
        newest_ms: Timestamp of the latest stored final bar; None if no final bar is stored.
        due_ms: Timestamp of the latest bar that should be final.
        behind: Number of bars after ``newest_ms`` up to ``due_ms`` that should exist but are not known.
        age_ms: Time for which the market has been open since the latest final bar closed; None if
            no such bar is stored.
        last_ms: Timestamp of the latest stored bar, final or not; None if no bar is stored.
    """

    newest_ms: int | None
    due_ms: int | None
    behind: int
    age_ms: int | None
    last_ms: int | None = None

    @property
    def is_stale(self) -> bool:
        """Whether at least one newer bar has settled but is not stored."""
        return self.behind > 0


@dataclass(frozen=True)
class Pace:
    """The reference for judging freshness, shared by series with the same market and timeframe.

    Attributes:
        calendar, timeframe, anchor: Define the grid of the bars.
        now_ms: Moment of the check, in UTC milliseconds.
        due_ms: Timestamp of the latest bar that is final at that moment; None if there is none.
    """

    calendar: MarketCalendar
    timeframe: Timeframe
    anchor: str
    now_ms: int
    due_ms: int | None

    @classmethod
    def at(
        cls,
        calendar: MarketCalendar,
        timeframe: Timeframe,
        now_ms: int,
        settle_ms: int,
        anchor: str = "session",
    ) -> Pace:
        """Return the reference for a market at ``now_ms``; bars are final ``settle_ms`` after they close."""
        due_ms = newest_settled(BarGrid(calendar, timeframe, anchor), settle_ms, now_ms)
        return cls(calendar, timeframe, anchor, now_ms, due_ms)

    def of(self, coverage: Coverage, last: int | None) -> Freshness:
        """Return the freshness of a series.

        A span that is known to be empty, or is not trusted for the time being, does not count as
        behind, because fetching it again now would not change anything.

        Args:
            coverage: Coverage of the series.
            last: Timestamp of the last bar stored, final or not.
        """
        coverage = coverage.opened()
        newest_ms = self._newest_ms(coverage, last)
        if self.due_ms is None:
            return Freshness(newest_ms, None, 0, self.age_ms(newest_ms), last)
        first = newest_ms + 1 if newest_ms is not None else self._first_ms(coverage)
        covered = [
            c.span
            for c in coverage
            if c.span.end > first and c.state != "provisional" and c.is_valid(self.now_ms)
        ]
        missing = subtract([Span(first, self.due_ms + 1)], covered) if first <= self.due_ms else []
        behind = sum(len(self.calendar.opens(self.timeframe, s, self.anchor)) for s in missing)
        return Freshness(newest_ms, self.due_ms, behind, self.age_ms(newest_ms), last)

    def _newest_ms(self, coverage: Coverage, last: int | None) -> int | None:
        """Return the timestamp of the latest final bar; None if there is none.

        If the last bar (``last``) is not final, the calendar shows when the last final one opened.
        """
        finals = [entry.span for entry in coverage if entry.state == "final"]
        if not finals or last is None:
            return None
        if last in finals[-1]:
            return last
        return self.calendar.back(self.timeframe, min(finals[-1].end, last + 1), 1, self.anchor)

    def _first_ms(self, coverage: Coverage) -> int:
        return coverage[0].span.start if coverage else self.now_ms

    def age_ms(self, newest_ms: int | None) -> int | None:
        """Return for how long the market has been open since a bar closed; None without a bar."""
        if newest_ms is None:
            return None
        stamp = np.array([newest_ms], dtype=np.int64)
        closed = int(self.calendar.closes(self.timeframe, stamp, self.anchor)[0])
        return open_ms(self.calendar, Span(closed, max(closed, self.now_ms)))


def open_ms(calendar: MarketCalendar, span: Span) -> int:
    """Return how many milliseconds of ``span`` the market was open for, excluding breaks."""
    if span.is_empty:
        return 0
    # Sessions of futures and FX are dated a day after they open.
    first, last = date_of(span.start) - _A_DAY, date_of(span.end) + _A_DAY
    total = 0
    for session in calendar.sessions(first, last):
        hours = subtract([Span(session.open_ms, session.close_ms)], session.breaks)
        total += sum(cut.end - cut.start for s in hours if not (cut := s.clip(span)).is_empty)
    return min(total, span.end - span.start)


def is_at_rest(last_ms: int | None, now_ms: int, days: int = 30) -> bool:
    """Return whether a series seems abandoned: all its bars are older than ``days`` days."""
    return last_ms is None or last_ms < now_ms - days * DAY_MS

"""How long a market has been silent, counted in the time it was open."""

from __future__ import annotations

from datetime import timedelta

from ..calendars.calendar import MarketCalendar
from ..calendars.session import ALWAYS_OPEN
from ..model.instant import DAY_MS, date_of
from ..model.span import Span, subtract

_DAY = timedelta(days=1)


def open_ms(calendar: MarketCalendar, span: Span) -> int:
    """Return for how many milliseconds of ``span`` the market was open; at most about a day's.

    A longer span is cut to its last days: nobody who asks waits that long.
    """
    if calendar.name == ALWAYS_OPEN:
        return max(0, span.end - span.start)
    late = Span(max(span.start, span.end - 4 * DAY_MS), span.end)
    if late.is_empty:
        return 0
    sessions = calendar.sessions(date_of(late.start) - _DAY, date_of(late.end) + _DAY)
    opened = [Span(s.open_ms, s.close_ms).clip(late) for s in sessions]
    breaks = [pause for session in sessions for pause in session.breaks]
    return sum(part.end - part.start for part in subtract(opened, breaks))

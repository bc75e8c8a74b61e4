"""Which stretches of bars are worth having from a vendor's archive of whole months."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from ..model.capabilities import Capabilities
from ..model.instant import DAY_MS, date_of, day_ms
from ..model.span import Span
from ..model.timeframe import Timeframe

# The file, and the one that says what is in it to the last bit.
REQUESTS_A_MONTH = 2
_SHORTEST_MONTH_MS = 28 * DAY_MS


class Piece(NamedTuple):
    """A stretch to ask for, and whether it is one whole month of the archive."""

    span: Span
    is_archived: bool


def pieces(span: Span, timeframe: Timeframe, caps: Capabilities, now_ms: int) -> list[Piece]:
    """Cut ``span`` into ascending, adjoining pieces: months of the archive, and what lies between.

    Months are taken from the archive where that saves requests: pages of them take more.

    Args:
        span: stamps ``[start, end)`` in UTC milliseconds; an empty one gives no piece.
        timeframe: length of the bars.
        caps: says how long after its end a month is in the archive, and what a page holds.
        now_ms: the time of asking; later months are not there yet.
    """
    found: list[Piece] = []
    cursor = span.start
    for month in (
        _months(span, now_ms - caps.archive_days * DAY_MS) if _pays(caps, timeframe) else ()
    ):
        if month.start > cursor:
            found.append(Piece(Span(cursor, month.start), False))
        found.append(Piece(month, True))
        cursor = month.end
    return found if cursor >= span.end else [*found, Piece(Span(cursor, span.end), False)]


def chunk_end(
    span: Span, most_ms: int, timeframe: Timeframe, caps: Capabilities, now_ms: int
) -> int:
    """Return where the first chunk of ``span`` ends, so that no month of the archive is cut.

    It is ``most_ms`` long at most, but for one whole month at its begin.
    """
    usual = min(span.start + most_ms, span.end)
    reach = Span(
        span.start, min(max(usual, span.start + 2 * _SHORTEST_MONTH_MS + 6 * DAY_MS), span.end)
    )
    months = [p.span for p in pieces(reach, timeframe, caps, now_ms) if p.is_archived]
    if not months:
        return usual
    if months[0].start > span.start:
        return min(usual, months[0].start)
    return max([months[0].end, *(month.end for month in months if month.end <= usual)])


def _pays(caps: Capabilities, timeframe: Timeframe) -> bool:
    """Tell whether there is an archive, and a month takes more pages than files."""
    if not (caps.archive_days and caps.page_bars and timeframe.is_intraday and timeframe.step_ms):
        return False
    bars = _SHORTEST_MONTH_MS // timeframe.step_ms
    return -(-bars // caps.page_bars) > REQUESTS_A_MONTH


def _months(span: Span, until_ms: int) -> list[Span]:
    """Return the UTC months that lie wholly within ``span`` and before ``until_ms``."""
    found = []
    first = date_of(span.start - 1)
    start = _following(first.replace(day=1)) if span.start > day_ms(first.replace(day=1)) else first
    while (end := day_ms(_following(start))) <= min(span.end, until_ms):
        found.append(Span(day_ms(start), end))
        start = _following(start)
    return found


def _following(first: date) -> date:
    """Return the first day of the month after the one that begins with ``first``."""
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)

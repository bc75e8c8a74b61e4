"""Cut a span into what a vendor answers at once."""

from __future__ import annotations

from ..model.instant import DAY_MS
from ..model.span import Span
from ..model.timeframe import Timeframe

# The shortest month: a page of n months is never cut longer than the vendor allows.
_SHORTEST_MONTH_MS = 28 * DAY_MS


def windows(span: Span, timeframe: Timeframe, *, bars: int = 0, days: int = 0) -> list[Span]:
    """Cut ``span`` into ascending, adjoining windows that cover it exactly.

    Args:
        span: stamps ``[start, end)`` in UTC milliseconds; an empty one gives no window.
        timeframe: length of the bars.
        bars: most stamps in one window; 0 means no such limit.
        days: most calendar days in one window; 0 means no such limit.
    """
    if span.is_empty:
        return []
    lengths = [days * DAY_MS] if days > 0 else []
    if bars > 0:
        lengths.append(bars * (timeframe.step_ms or timeframe.count * _SHORTEST_MONTH_MS))
    if not lengths:
        return [span]
    length = min(lengths)
    return [Span(at, min(at + length, span.end)) for at in range(span.start, span.end, length)]

"""The timestamps at which bars of a series may open, given what is known about their anchor."""

from __future__ import annotations

from dataclasses import replace

from ...calendars.grid import BarGrid
from ...model.identity.kind import Kind
from ...model.time.span import Span


def may_open(grid: BarGrid, span: Span, kind: Kind | None) -> bool:
    """Return whether a bar could open in ``span`` if the market were open then.

    Args:
        grid: Grid of the series.
        span: Span to check.
        kind: Kind of the series. If it is unknown or has no anchor, both alignments of intraday
            bars are considered: with the session's open and with the clock.
    """
    if grid.could_open(span):
        return True
    return not _is_certain(grid, kind) and replace(grid, anchor="clock").could_open(span)


def back(grid: BarGrid, end_ms: int, count: int, kind: Kind | None) -> int:
    """Return the timestamp from which to look for ``count`` bars before ``end_ms``.

    The timestamp is one bar earlier if it is unknown whether bars are aligned with the session's
    open or with the clock, because a bar may then open before its slot in the grid.

    Raises:
        BadRangeError: Calendars do not reach back that far.
    """
    return grid.back(end_ms, count if _is_certain(grid, kind) else count + 1)


def _is_certain(grid: BarGrid, kind: Kind | None) -> bool:
    return not grid.timeframe.is_intraday or (kind is not None and bool(kind.anchor))

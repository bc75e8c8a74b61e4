"""The timestamps at which bars of a series may open, as far as their anchor is known."""

from __future__ import annotations

from dataclasses import replace

from ...calendars.grid import BarGrid
from ...model.kind import Kind
from ...model.span import Span


def may_open(grid: BarGrid, span: Span, kind: Kind | None) -> bool:
    """Tell whether a bar could open in ``span``, were the market open then.

    Args:
        grid: of the series.
        span: the stretch.
        kind: of the series; without an anchor its hours may be counted from either.
    """
    if grid.has_place(span):
        return True
    return not _is_certain(grid, kind) and replace(grid, anchor="clock").has_place(span)


def back(grid: BarGrid, end_ms: int, count: int, kind: Kind | None) -> int:
    """Return the stamp from which ``count`` bars before ``end_ms`` are looked for.

    Where it is not known what hours are counted from, a bar may open before its slot of the grid.

    Raises:
        BadRangeError: calendars do not reach so far back.
    """
    return grid.back(end_ms, count if _is_certain(grid, kind) else count + 1)


def _is_certain(grid: BarGrid, kind: Kind | None) -> bool:
    return not grid.timeframe.is_intraday or (kind is not None and bool(kind.anchor))

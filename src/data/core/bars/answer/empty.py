"""Finds the reason why an answer has no bars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...calendars.grid import grid_for
from ...model.identity.kind import Kind
from ...model.request.query import BarsQuery
from ...model.stored.coverage import Coverage
from ...model.stored.reasons import CLOSED, NO_TRADE, UNASKED
from .slots import may_open

NOT_CLOSED = "no bar has closed yet"
NO_PLACE = "no bar of this length opens in this range"


def reason_of_empty(
    query: BarsQuery, kind: Kind, coverage: Coverage, reasons: Sequence[str]
) -> str:
    """Return a short reason why there are no bars.

    The first of ``reasons`` is returned if there are any. Otherwise, the result is one of these:

    - ``no bar of this length opens in this range``
    - ``market closed``: the whole range is outside market hours, as confirmed by a vendor
    - ``market closed, not asked``: the same, but no vendor has been queried
    - ``no bar has closed yet``
    - ``no trade``: the vendor only has bars with trades

    Args:
        query: The query.
        kind: Kind of the bars.
        coverage: Coverage of the query's span.
        reasons: Reasons for the gaps in the answer.
    """
    if reasons:
        return next((reason for reason in reasons if reason != UNASKED), UNASKED)
    if query.span.is_empty:
        return NOT_CLOSED
    grid = grid_for(query.instrument, query.timeframe, kind)
    first = grid.next_open(query.span.start)
    if not may_open(grid, query.span, kind):
        return NO_PLACE
    if first >= query.span.end:
        return CLOSED if coverage.within(query.span) else UNASKED
    known_ms = query.now_ms if query.closed_by_ms is None else query.closed_by_ms
    has_closed = int(grid.closes(np.array([first], dtype=np.int64))[0]) <= known_ms
    return NO_TRADE if has_closed else NOT_CLOSED

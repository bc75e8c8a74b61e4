"""What a stretch costs with one vendor: requests, and units of its limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...calendars.gaps import BarGrid
from ...errors import DataError
from ...model.bars import Stamps
from ...model.capabilities import Capabilities, FetchQuery
from ...model.span import Span
from ...model.timeframe import Timeframe
from ...vendors.archives import REQUESTS_A_MONTH, pieces
from ...vendors.paging import windows

# More stretches than this are asked for together where one page holds several.
_MANY = 8
_USUAL_PAGE = 500


def in_few_requests(
    spans: Sequence[Span], capabilities: Capabilities | None, timeframe: Timeframe
) -> list[list[Span]]:
    """Group ascending stretches by the requests that they are asked for with.

    Many small ones are asked for together with the bars between them, page by page.
    """
    if len(spans) <= _MANY:
        return [[span] for span in spans]
    bars = capabilities.page_bars if capabilities and capabilities.page_bars else _USUAL_PAGE
    page = bars * timeframe.longest_ms
    groups = [[spans[0]]]
    for span in spans[1:]:
        if span.end - groups[-1][0].start <= page:
            groups[-1].append(span)
        else:
            groups.append([span])
    return groups


def requests_for(
    capabilities: Capabilities | None, span: Span, grid: BarGrid, now_ms: int | None = None
) -> int:
    """Return the requests that ``span`` takes when every bar that the calendar expects exists.

    What is not ours is asked once; how often it asks is its own affair. Months that lie in an
    archive by ``now_ms`` are had from there.
    """
    if capabilities is None:
        return 1
    if now_ms is not None and (archived := archive_requests(capabilities, span, grid, now_ms)):
        rest = [
            p.span for p in pieces(span, grid.timeframe, capabilities, now_ms) if not p.is_archived
        ]
        return archived + sum(requests_for(capabilities, part, grid) for part in rest)
    days = capabilities.page_days.get(grid.timeframe.label, 0)
    step = grid.timeframe.step_ms or 1
    return sum(
        _pages(grid.opens(window), window.end, capabilities.page_bars, step)
        for window in windows(span, grid.timeframe, days=days)
    )


def archive_requests(
    capabilities: Capabilities | None, span: Span, grid: BarGrid, now_ms: int
) -> int:
    """Return how many requests of ``span`` go to the vendor's archive."""
    found = pieces(span, grid.timeframe, capabilities, now_ms) if capabilities else ()
    return REQUESTS_A_MONTH * sum(piece.is_archived for piece in found)


def _pages(stamps: Stamps, end: int, most: int, step: int) -> int:
    """Return the pages of at most ``most`` bars that hold ``stamps``; 0 means no such limit."""
    if not most or not len(stamps):
        return 1
    full, rest = divmod(len(stamps), most)
    # A full last page does not tell that it was the last.
    return full + (1 if rest or int(stamps[-1]) + step < end else 0)


def cost_of(downloader: Any, query: FetchQuery) -> int:
    """Return the units of its limits that one request takes; 1 where the vendor does not tell.

    The request is built, and not sent.
    """
    build = getattr(downloader, "bars_request", None)
    try:
        return int(build(query, None).cost) if build is not None else 1
    except DataError:  # what is refused when it is built is refused when it is asked
        return 1

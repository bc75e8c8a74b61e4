"""Builds the query for a vendor: the missing bars, and adjacent bars to compare its answer with.

A few stored bars from other vendors next to a span are also requested; they are compared but not
stored again. Along with the latest bars, the vendor's own final bars before them are requested
again.

Final bars do not expire, and no vendor is queried just for them. When a vendor is queried for the
end of a series, however, the request occasionally reaches back over the vendor's own last bars,
provided that this does not cost an additional request. Bars that differ replace the stored ones.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...calendars.grid import BarGrid
from ...model.market.bars import inside
from ...model.request.capabilities import Capabilities
from ...model.stored.coverage import WITH_BARS, Coverage, Covered
from ...model.stored.reasons import CLOSED
from ...model.time.instant import DAY_MS
from ...model.time.span import Span
from ...prices.splice import COMPARED
from ..selection.candidates import Candidate
from ..series import LaneRequest, SeriesStore, Side, VendorQuestion
from ..validity import is_older, split_suspicion
from .plan import requests_for

# Minimum number of bars to compare, if they fit in the vendor's page.
FEWEST = 5
# Bars more than this many expected bars away are not compared.
_LOOK_BARS = 3 * COMPARED
_SHORTEST_LOOK_MS = 14 * DAY_MS


def question_for(
    request: LaneRequest,
    series: SeriesStore,
    candidate: Candidate,
    spans: Sequence[Span],
    until_ms: int,
) -> VendorQuestion:
    """Return the question to a candidate.

    Args:
        request: Request to the lane.
        series: Store of the series.
        candidate: The vendor.
        spans: Ascending missing spans, requested together.
        until_ms: End of the range after the spans in which nothing else is missing.
    """
    span = Span(spans[0].start, spans[-1].end)
    sides = neighbors(request, series, candidate, span)
    if len(spans) > 1:
        return VendorQuestion(span, sides, missing_parts=tuple(spans), until_ms=until_ms)
    start = span.start if sides else _compared_from(request, series, candidate, span)
    compared = Span(start, span.end) if start < span.start else Span(0, 0)
    return VendorQuestion(
        span,
        sides,
        with_own_bars_before=compared,
        actions_from=None if sides else _actions_from(request, series, candidate, span, start),
    )


# --- bars from other vendors next to a span


def neighbors(
    request: LaneRequest, series: SeriesStore, candidate: Candidate, span: Span
) -> tuple[Side, ...]:
    """Return the bars from other vendors next to ``span``; empty if a vendor is pinned."""
    if request.query.provider is not None:
        return ()
    coverage = series.coverage()
    if not any(
        c.parts or (c.state in WITH_BARS and _must_be_compared(c, candidate)) for c in coverage
    ):
        return ()
    sides = (
        _side(request.grid, series, candidate, span, is_later=later) for later in (False, True)
    )
    return tuple(side for side in sides if side is not None)


def _side(
    grid: BarGrid, series: SeriesStore, candidate: Candidate, span: Span, *, is_later: bool
) -> Side | None:
    edge = span.end if is_later else span.start
    rows, entries = series.read_with_unstored(_look_span(grid, edge, is_later=is_later))
    if not len(rows):
        return None
    stamp = int(rows.stamps[0 if is_later else -1])
    nearest = next((entry for entry in entries if stamp in entry.span), None)
    if nearest is None or not _must_be_compared(nearest, candidate):
        return None
    final = [c.span for c in entries if c.state == "final" and _must_be_compared(c, candidate)]
    neighbors = rows.take(inside(rows.stamps, final))
    neighbors = neighbors.take(slice(COMPARED) if is_later else slice(-COMPARED, None))
    reach = Span(edge, edge)
    if len(neighbors) and is_later:
        reach = Span(edge, grid.next_open(int(neighbors.stamps[-1]) + 1))
    elif len(neighbors):
        reach = Span(int(neighbors.stamps[0]), edge)
    return Side(nearest.vendor, reach, neighbors, entries, is_later)


def _must_be_compared(entry: Covered, candidate: Candidate) -> bool:
    """Return whether a candidate's bars must be compared with ``entry``, the adjacent stored bars.

    A comparison is needed with bars from another vendor, and with the candidate's own stored bars
    if they were rescaled. Bars from older tools have a separate rule.
    """
    if is_older(entry) and candidate.adjustment != "unknown":
        return False
    ours = candidate.capabilities is not None
    name = candidate.downloader.name if ours else candidate.name
    return entry.state in WITH_BARS and (entry.vendor != name or entry.is_rescaled)


def _look_span(grid: BarGrid, edge: int, *, is_later: bool) -> Span:
    """Return the span in which to look for bars to compare: before ``edge`` or, if ``is_later``, after it."""
    step_ms = grid.timeframe.longest_ms
    far = max(_SHORTEST_LOOK_MS, 2 * _LOOK_BARS * step_ms)
    if is_later:
        stamps = grid.opens(Span(edge, edge + far))
        return Span(edge, int(stamps[_LOOK_BARS]) if len(stamps) > _LOOK_BARS else edge + far)
    stamps = grid.opens(Span(edge - far, edge))
    return Span(int(stamps[-_LOOK_BARS]) if len(stamps) > _LOOK_BARS else edge - far, edge)


# --- the vendor's own bars before a span


def _compared_from(
    request: LaneRequest, series: SeriesStore, candidate: Candidate, span: Span
) -> int:
    """Return the start of the vendor's own earlier bars that are requested again for comparison.

    The result is the start of ``span`` if no comparison is due, or if bars after ``span`` are
    stored.
    """
    caps, compared_at = candidate.capabilities, series.view().compared_at
    if caps is None or request.query.refresh or not _is_due(request, series, compared_at):
        return span.start
    if not _is_end(series, span):
        return span.start
    now_ms = series.now_ms()
    earlier = _own_bars_before(series.coverage(), candidate, span.start)
    earlier = candidate.servable(earlier, request.grid.timeframe, now_ms)
    return request_start(earlier, span, compared_at, caps, request.grid, now_ms)


def _actions_from(
    request: LaneRequest, series: SeriesStore, candidate: Candidate, span: Span, start: int
) -> int | None:
    """Return the start of the bars to request again for the recent and doubted actions among them.

    The result is None if there are none after ``start``, if bars after ``span`` are stored, or if
    this would cost an additional request.
    """
    caps, now_ms = candidate.capabilities, series.now_ms()
    if caps is None or not caps.actions or request.grid.timeframe.label != "1d":
        return None
    first = series.book().recheck_from(candidate.name, now_ms)
    if first is None or not _is_end(series, span):
        return None
    reach = candidate.servable(Span(first, span.end), request.grid.timeframe, now_ms)
    requests = [
        requests_for(caps, each, request.grid, now_ms) for each in (reach, Span(start, span.end))
    ]
    return reach.start if reach.start < start and requests[0] <= requests[1] else None


def _is_end(series: SeriesStore, span: Span) -> bool:
    """Return whether no bars after ``span`` are stored, so that it is the end of the series."""
    stored = (entry for entry in series.coverage() if entry.state in WITH_BARS)
    return not any(entry.span.end > span.end for entry in stored)


def _is_due(request: LaneRequest, series: SeriesStore, compared_at: int | None) -> bool:
    """Return whether a comparison is due: the last one is old enough, and no split is near."""
    now_ms = series.now_ms()
    if compared_at is not None and abs(now_ms - compared_at) < request.expiry.recent_ms:
        return False
    return split_suspicion(series.book().splits, now_ms) is None


def _own_bars_before(entries: Coverage, candidate: Candidate, edge: int) -> Span:
    """Return the span directly before ``edge`` in which every bar is final and from the candidate."""
    start = edge
    before = (entry for whole in reversed(entries) for entry in reversed(whole.opened))
    clipped = (entry.clip(Span(0, edge)) for entry in before)
    for entry in filter(None, clipped):
        if entry.span.end != start or not _is_own(entry, candidate):
            break
        start = entry.span.start
    return Span(start, edge)


def _is_own(entry: Covered, candidate: Candidate) -> bool:
    """Return whether ``entry`` is final and from the candidate, so a new request should not change it.

    Spans in which the market was closed also count.
    """
    if entry.state == "empty":
        return entry.reason == CLOSED
    is_own = entry.state == "final" and entry.vendor == candidate.downloader.name
    return is_own and not entry.is_rescaled and not is_older(entry)


def request_start(
    earlier: Span,
    span: Span,
    compared: int | None,
    caps: Capabilities,
    grid: BarGrid,
    now_ms: int | None = None,
) -> int:
    """Return the start of a request for ``span`` that also includes bars to compare.

    The bars to compare are those received since the last comparison, but at least a few, provided
    that they do not cost an additional request.
    """
    stamps = grid.opens(earlier)
    since = len(stamps) if compared is None else int((stamps >= compared).sum())
    fitting = min(len(stamps), FEWEST if compared is None else max(FEWEST, since))
    if caps.page_bars:
        room = -len(grid.opens(span)) % caps.page_bars
        fitting = min(fitting, max(room - 1, 0))  # a full page does not show that it is the last
    requests = requests_for(caps, span, grid, now_ms)
    for count in (fitting, min(fitting, FEWEST)):
        start = int(stamps[-count]) if count else span.start
        if requests_for(caps, Span(start, span.end), grid, now_ms) <= requests:
            return start
    return span.start

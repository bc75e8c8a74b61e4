"""Plans which bars to request; fetching and `plan` use the same plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ....errors import BadRangeError, DataError
from ...cache.store import Commit, CommitPiece
from ...calendars.calendar import first_unclosed
from ...calendars.finality import due_spans
from ...calendars.gaps import missing
from ...calendars.grid import BarGrid, GridOutline
from ...model.market.bars import BarTable
from ...model.request.capabilities import Capabilities, FetchQuery
from ...model.stored.coverage import WITH_BARS, Coverage, Covered, Stretches
from ...model.stored.lifetime import Lifetime
from ...model.stored.reasons import AHEAD, BEFORE_FIRST, CLOSED, UNEXPECTED
from ...model.time.instant import DAY_MS, MINUTE_MS
from ...model.time.span import Span, coalesce, intersect, subtract, touching, uncovered
from ...model.time.timeframe import Timeframe
from ...prices.splice import COMMON
from ...registry import is_free, is_sample
from ...vendors.archives import REQUESTS_A_MONTH, pieces
from ...vendors.paging import windows
from ..answer.slots import back, may_open
from ..selection.candidates import Candidate
from ..selection.source_check import has_others, version_of
from ..series import Journal, LaneRequest, SeriesStore
from ..validity import (
    fetched_ahead,
    has_loose_hours,
    is_older,
    is_unasked,
    lifetime_of,
    may_hold_more,
    split_marks,
)

# Maximum number of settled bars before a segment that are fetched again together with it.
_FEW_UNSETTLED = 8


@dataclass(frozen=True)
class FetchPlan:
    """The fetch plan for a request to a lane.

    Attributes:
        wanted: Span that the answer is for.
        cap_ms: Timestamp of the first bar that has not closed.
        segments: Spans to request.
        closed: Spans that are not requested, because the market is closed and no bars are known at
            such hours.
        coverage_before: Coverage at the time of planning; empty if no bar of the span has closed.
        generation: Generation of the series at the time of planning.
    """

    wanted: Span
    cap_ms: int
    segments: tuple[Span, ...] = ()
    closed: tuple[Span, ...] = ()
    coverage_before: Coverage = Coverage()
    generation: int = 0


def wanted_span(request: LaneRequest, series: SeriesStore, bars: int | None = None) -> Span:
    """Return the requested span; a number of bars is counted back from the last closed bar.

    The span contains that number of rows of a user's file. If the series has ended, they are counted
    back from its end, offline even if that was to be checked again by now. ``bars`` replaces the
    query's own number.
    """
    query = request.query
    if query.bars is None:
        return query.span
    end, count = min(query.span.end, cap_of(request, series)), bars or query.bars
    bound = _agreed(series.lifetime(), request).delisted
    if bound is not None and (query.offline or bound.is_valid(series.now_ms())):
        end = min(end, bound.at)
    start = back(request.grid, end, count, request.route.kind)
    if is_of_one_file(request) and series.view().exists:  # its rows may be far apart
        rows = series.read(Span(series.view().first or end, end), is_use=False)[0].stamps
        start = min([start, *rows[-query.bars :][:1].tolist()])
    return Span(start, query.span.end)


def end_to_check(request: LaneRequest, series: SeriesStore, wanted: Span) -> Span:
    """Return the span to request in order to check again whether the series has ended.

    It is empty if there is nothing to check. A span without bars up to now proves the end again, so
    that nothing else needs to be requested after it. The end of data is not checked in this way,
    because files may change anywhere.
    """
    view, cap_ms = series.view(), cap_of(request, series)
    end = view.lifetime.ended
    is_due = end is not None and not end.is_valid(series.now_ms()) and wanted.end > end.at
    if not is_due or request.query.offline or not view.coverage:
        return Span(0, 0)
    return Span(min(view.coverage[-1].span.end, request.grid.back(cap_ms, 1)), cap_ms)


def cap_of(request: LaneRequest, series: SeriesStore) -> int:
    """Return the timestamp of the first bar that has not closed at the request's time."""
    grid = request.grid
    return first_unclosed(grid.calendar, grid.timeframe, series.now_ms(), grid.anchor)


def plan_fetch(
    request: LaneRequest,
    series: SeriesStore,
    journal: Journal,
    wanted: Span,
) -> FetchPlan:
    """Plan the fetch from the current state of the series.

    Args:
        request: Request to the lane.
        series: Store of the series. Changes that the plan requires are made before any query.
        journal: Record of the attempts.
        wanted: Requested span.
    """
    is_refresh = request.query.refresh and not journal.attempts
    _begin_file(request, series, anew=is_refresh)
    if request.query.provider is not None and not request.query.refresh:
        adopt(request, series, wanted)
    _mark_ahead(series)
    mark_near_splits(series, journal)
    journal.due_now.clear()  # the plan includes these bars
    return plan_missing(request, series, journal, wanted)


def reader_of(request: LaneRequest) -> Candidate | None:
    """Return the vendor that reads the user's files for a lane of these files; None for other lanes."""
    folder = request.key.of_folder
    readers = (c for c in request.route.candidates if folder and c.folder_lane == folder)
    return next(readers, None)


def is_of_one_file(request: LaneRequest) -> bool:
    """Return whether a user's file is the only source of a lane's bars."""
    names = [candidate.name for candidate in request.route.candidates]
    return len(names) == 1 and is_free(names[0])


def _begin_file(request: LaneRequest, series: SeriesStore, *, anew: bool) -> None:
    """Drop the bars in memory if the user's file is not the one from which they were read, or ``anew``.

    For a refresh, bars that other vendors have added would otherwise seem to be lost from the file; a
    query that only the files may answer must not be answered by them.
    """
    query, reader = request.query, reader_of(request)
    if reader is None:
        return
    version = version_of(reader.downloader, query.instrument, request.key.timeframe)
    series.begin(version, anew=anew or has_others(query, series.view()))
    if is_sample(query.provider) and not series.view().exists:
        series.forget_actions()


def _mark_ahead(series: SeriesStore) -> None:
    """Mark data with a fetch time in the future as suspect and due to be fetched again."""
    now_ms = series.now_ms()
    marks = [
        replace(entry, fetched_at=now_ms, expires=now_ms)
        if entry.state == "empty"
        else replace(entry, state="suspect", reason=AHEAD, fetched_at=now_ms, expires=now_ms)
        for entry in fetched_ahead(series.view(), now_ms)
    ]
    if marks:
        series.commit(Commit(marks=tuple(marks), next_due=now_ms))


def mark_near_splits(series: SeriesStore, journal: Journal) -> None:
    """Mark bars that were fetched close to a split as suspect, even if it was reported later."""
    marks, now_ms = split_marks(series.view().coverage, series.book()), series.now_ms()
    if marks:
        series.commit(Commit(marks=tuple(marks)))
        journal.due_now += [mark.span for mark in marks if not mark.is_valid(now_ms)]


def plan_missing(
    request: LaneRequest, series: SeriesStore, journal: Journal, wanted: Span
) -> FetchPlan:
    """Plan the requests, leaving out bars that are stored or have not closed.

    1. Limit the span to bars that have closed, and extend it over closed hours in which bars may
       exist.
    2. Determine the coverage that need not be requested again: none of it for a refresh.
    3. Request the expected bars outside that coverage, and provisional bars that are due.
    4. Extend these segments over bars that have settled, and over bars to compare.
    5. Add closed hours in which a vendor may have bars.
    6. Leave out spans that this request has already queried, and add the forming bar.
    """
    query, grid = request.query, request.grid
    view, now_ms, cap_ms = series.view(), series.now_ms(), cap_of(request, series)
    # 1. The bars that have closed.
    reach = Span(wanted.start, min(wanted.end, cap_ms))
    if reach.is_empty:
        return FetchPlan(wanted, cap_ms, generation=view.generation)
    reach = _with_closed_hours(reach, request)
    # 2. The coverage that need not be requested again.
    stored = series.coverage()
    coverage = _trusted_part(request, stored.opened(reach), reach, now_ms)
    is_refresh = query.refresh and not journal.attempts
    # Hours when the market is closed are not requested by themselves, but they are included next to
    # requested spans, because there may be bars that the calendar does not expect.
    reliable = coverage.only(lambda entry: not is_unasked(entry))
    latest = Span(now_ms - 1, now_ms)  # requested together with any other segments
    if any(_can_be_queried(c.at(latest), request, journal, now_ms) for c in reliable.sources):
        reliable = Coverage(c for c in reliable if not _can_be_queried(c, request, journal, now_ms))
    covered = (
        []
        if is_refresh
        else [
            *reliable.standing(now_ms, reach),
            *_agreed(lifetime_of(view), request, journal.excluded).beyond(now_ms),
        ]
    )
    # 3. The bars to request, up to the first time at which any bar, expected or not, may be open.
    unsettled = coverage.only(lambda entry: entry.state == "provisional")
    touched = Coverage(entry for entry in unsettled if entry.span.overlaps(reach))
    due = due_spans(touched, grid, request.settle_ms, now_ms)
    absent = missing(reach, covered, due, grid)
    closed_range = Span(reach.start, grid.first_open(cap_ms, now_ms))
    segments = [s.clip(closed_range) for s in absent.segments]
    # 4. Bars that have settled, and bars to compare.
    if not is_refresh:
        segments = _with_unsettled(segments, coverage, request, now_ms)
    if request.route.candidates[0].adjustment != "unknown":
        segments = with_overlap(segments, coverage, grid, cap_ms)
    # 5. Closed hours.
    is_first = not (view.exists or segments or journal.attempts)
    unfilled = coalesce(gap.span for gap in journal.unfilled)
    worth_requesting = [
        s
        for s in absent.closed
        if is_first or _is_worth_requesting(s, stored, request, unfilled, is_refresh=is_refresh)
    ]
    to_request = intersect(worth_requesting, [closed_range])
    closed = tuple(subtract(absent.closed, to_request))
    if to_request:
        segments = coalesce([*segments, *to_request])
    # 6. A search for a number of bars proceeds in steps; spans requested in earlier steps are not
    # repeated.
    segments = subtract(segments, (Span(a.start_ms, a.end_ms) for a in journal.attempts))
    if query.include_forming and segments and segments[-1].end == closed_range.end:
        # The forming bar is fetched together with the closed bars before it.
        segments[-1] = Span(segments[-1].start, max(wanted.end, closed_range.end + MINUTE_MS))
    return FetchPlan(wanted, cap_ms, tuple(segments), closed, stored, view.generation)


def _with_closed_hours(reach: Span, request: LaneRequest) -> Span:
    """Extend ``reach`` to whole closed hours at both ends, if bars may exist in closed hours.

    Otherwise, the bounds of the coverage would depend on which part of those hours each query
    happens to request.
    """
    if not has_loose_hours(request.query.instrument):
        return reach
    grid, (start, end) = request.grid, reach
    if grid.next_open(start) > start:
        try:
            last = grid.back(start, 1)
        except BadRangeError:  # calendars do not go back that far
            return Span(start, grid.next_open(end))
        start = min(start, last + min(grid.timeframe.longest_ms, DAY_MS))
    return Span(start, grid.next_open(end))


def _is_worth_requesting(
    closed: Span,
    stored: Coverage,
    request: LaneRequest,
    unfilled: Sequence[Span],
    *,
    is_refresh: bool,
) -> bool:
    """Return whether to query a vendor for a span in which no bar is expected.

    A span is not requested again if this request has already tried in vain (``unfilled``,
    ascending).
    """
    if touching(unfilled, closed):
        return False
    if not may_open(request.grid, closed, request.route.kind):
        return False
    return is_refresh or may_hold_more(stored, closed, request.query.instrument)


def _with_unsettled(
    segments: list[Span], coverage: Coverage, request: LaneRequest, now_ms: int
) -> list[Span]:
    """Extend each segment backwards over the bars that have settled since they were fetched.

    Otherwise nightly queries, made before the last bar has settled, would leave one unsettled bar
    per night, which the next query does not include.
    """
    due = {span.end: span for span in due_spans(coverage, request.grid, request.settle_ms, now_ms)}
    widened = []
    for start, end in segments:
        before = due.get(start)
        room = 0 if before is None else _bars_left_in_page(Span(start, end), request)
        if before is not None and room:
            start = max(before.start, request.grid.back(start, room))
        widened.append(Span(start, end))
    return coalesce(widened)


def _bars_left_in_page(segment: Span, request: LaneRequest) -> int:
    """Return how many more bars, at most a few, fit into the last page for ``segment``."""
    caps = request.route.candidates[0].capabilities
    if caps is None or not caps.page_bars:
        return _FEW_UNSETTLED
    # A full page does not show whether it is the last.
    return min(_FEW_UNSETTLED, max(-request.grid.outline(segment).bars % caps.page_bars - 1, 0))


def _can_be_queried(entry: Covered, request: LaneRequest, journal: Journal, now_ms: int) -> bool:
    """Return whether a vendor in the lane is still to be queried for bars that other vendors lack.

    This is False for spans that two vendors prove to be before a listing.
    """
    is_bar = entry.state in WITH_BARS and not entry.is_of_rejected_row
    if is_bar or entry.reason in (CLOSED, BEFORE_FIRST):
        return False
    return any(
        not candidate.has_answered(entry)
        for candidate in request.route.candidates
        if candidate.name not in journal.excluded
        and not candidate.servable(entry.span, request.grid.timeframe, now_ms).is_empty
    )


def _agreed(life: Lifetime, request: LaneRequest, excluded: Collection[str] = ()) -> Lifetime:
    """Return the lifetime, without an end that not all usable vendors report."""
    names = life.delisted.source.split(",") if life.delisted else ()
    usable = (c for c in request.route.candidates if c.name not in excluded)
    return life if all(c.is_among(names) for c in usable) else replace(life, delisted=None)


def _trusted_part(request: LaneRequest, coverage: Coverage, reach: Span, now_ms: int) -> Coverage:
    """Return ``coverage`` without stock bars of unknown basis that new bars would have to join.

    Caches from older tools do not record the adjustment of their prices. Such bars may answer a
    query on their own. If anything has to be fetched next to them, or is already stored next to
    them, the whole span is fetched.
    """
    adjustable = request.route.candidates[0].adjustment != "unknown"
    if request.query.instrument.asset_class != "stock" or not adjustable:
        return coverage
    bases = {entry.basis.adjustment for entry in coverage.within(reach) if entry.state in WITH_BARS}
    missing_spans = uncovered(reach, coverage.standing(now_ms, reach))
    # Older tools did not record anything for weekends.
    if len(bases) < 2 and not any(request.grid.next_open(g.start) < g.end for g in missing_spans):
        return coverage
    return Coverage(c for c in coverage if c.state == "empty" or c.basis.adjustment != "unknown")


# --- a pinned vendor's bars that are in the default lane need not be fetched again


def adopt(request: LaneRequest, series: SeriesStore, wanted: Span) -> None:
    """Copy the pinned vendor's bars from the default lane into its own lane if they are missing there.

    Only final and off-calendar bars are copied; the latter would never be requested for their own
    sake. All keep their basis and fetch time. Bars that were corrected to fit another vendor's are
    not copied, because they are not what the vendor sent.
    """
    default = request.query.home_key
    wanted = _with_closed_hours(wanted, request)
    missing_spans = uncovered(
        wanted, [c.span for c in series.coverage().within(wanted) if not is_unasked(c)]
    )
    if not missing_spans or default == request.key:
        return
    shared = series.other_series(default)
    adopted = _unchanged_from_vendor(shared.view().coverage, wanted, request)
    commits = []
    for span in intersect(missing_spans, [entry.span for entry in adopted]):
        # Bars and coverage must come from one read, because a repair on the way removes from both.
        rows, coverage = shared.read(span)
        commits += [
            _copy_commit(rows, entry) for entry in _unchanged_from_vendor(coverage, span, request)
        ]
    if commits:
        pieces = tuple(piece for commit in commits for piece in commit.pieces)
        marks = Stretches.chained(commit.marks for commit in commits)
        series.commit(Commit(pieces, marks))


def _unchanged_from_vendor(coverage: Coverage, span: Span, request: LaneRequest) -> list[Covered]:
    """Return the entries in ``span`` whose bars are unchanged since the pinned vendor sent them.

    The bars are final or off-calendar; rescaled and converted bars are left out.
    """
    return [
        entry
        for entry in coverage.within(span)
        if (entry.state == "final" or entry.reason == UNEXPECTED)
        and entry.vendor == request.query.provider
        and not entry.is_rescaled
        # Bars that were converted for the default lane are not as the vendor sent them.
        and entry.kind.agrees(request.route.kind)
    ]


def _copy_commit(table: BarTable, entry: Covered) -> Commit:
    rows = table.within(entry.span)
    if not len(rows):
        return Commit(marks=(replace(entry, state="empty", reason=CLOSED, splices=()),))
    piece = CommitPiece(
        rows, entry.span, entry.vendor, entry.fetched_at, entry.kind, entry.basis, "final"
    )
    return Commit((piece,), (entry,) if entry.state == "suspect" else ())


# --- bars from older tools: their properties are unknown, so a few are compared before any are
# joined to them. Shares are stricter (see `_trusted_part`): theirs are fetched again as soon as anything
# next to them is fetched, because nothing records how they were adjusted.


def with_overlap(
    segments: Iterable[Span], coverage: Coverage, grid: BarGrid, cap_ms: int
) -> list[Span]:
    """Extend segments by a few bars into adjacent bars from older tools, so that these are compared."""
    older = [entry.span for entry in coverage if is_older(entry)]
    by_start, by_end = {span.start: span for span in older}, {span.end: span for span in older}
    widened = []
    for start, end in segments:
        if before := by_end.get(start):
            start = max(before.start, grid.back(start, COMMON))
        while (after := by_start.get(end)) and (limit := min(after.end, cap_ms)) > end:
            end = min(limit, _a_few_bars_after(grid, end))
        widened.append(Span(start, end))
    return coalesce(widened)


def _a_few_bars_after(grid: BarGrid, stamp: int) -> int:
    """Return the timestamp that is a few expected bars after ``stamp``."""
    for _ in range(COMMON):
        stamp = grid.next_open(stamp) + 1
    return grid.next_open(stamp)


# --- the cost of a span at one vendor: requests, and units of its limits


# If there are more spans than this, they are requested together if several fit in one page.
_FEW_SPANS = 8
_USUAL_PAGE_BARS = 500


def in_few_requests(
    spans: Sequence[Span], capabilities: Capabilities | None, timeframe: Timeframe
) -> list[list[Span]]:
    """Group ascending spans into requests.

    If there are many small spans, they are requested together with the bars between them, page by
    page.
    """
    if len(spans) <= _FEW_SPANS:
        return [[span] for span in spans]
    bars = capabilities.page_bars if capabilities and capabilities.page_bars else _USUAL_PAGE_BARS
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
    """Return the number of requests for ``span``, assuming that every expected bar exists.

    A downloader from outside this library is called once; the number of requests it sends is
    unknown. Months that are in an archive by ``now_ms`` are fetched from there.
    """
    if capabilities is None:
        return 1
    if now_ms is not None and (archived := archive_requests(capabilities, span, grid, now_ms)):
        rest = [
            p.span for p in pieces(span, grid.timeframe, capabilities, now_ms) if not p.is_archived
        ]
        return archived + sum(requests_for(capabilities, unarchived, grid) for unarchived in rest)
    days = capabilities.page_days.get(grid.timeframe.label, 0)
    step_ms = grid.timeframe.step_ms or 1
    chunks = windows(span, grid.timeframe, days=days)
    return sum(
        _pages(expected, window.end, capabilities.page_bars, step_ms)
        for window, expected in zip(chunks, grid.outlines(chunks), strict=True)
    )


def archive_requests(
    capabilities: Capabilities | None, span: Span, grid: BarGrid, now_ms: int
) -> int:
    """Return the number of requests for ``span`` that go to the vendor's archive."""
    parts = pieces(span, grid.timeframe, capabilities, now_ms) if capabilities else ()
    return REQUESTS_A_MONTH * sum(piece.is_archived for piece in parts)


def _pages(expected: GridOutline, end: int, most: int, step_ms: int) -> int:
    """Return the number of pages needed for the ``expected`` bars.

    A page has at most ``most`` bars; 0 means no limit.
    """
    if not most or expected.last is None:
        return 1
    full, rest = divmod(expected.bars, most)
    # A full last page does not show that it was the last one.
    return full + (1 if rest or expected.last + step_ms < end else 0)


def cost_of(downloader: Any, query: FetchQuery) -> int:
    """Return how many units of the vendor's rate limits one request uses; 1 if none are declared.

    The request is built but not sent.
    """
    build = getattr(downloader, "bars_request", None)
    try:
        return int(build(query, None).cost) if build is not None else 1
    except DataError:  # if the request cannot be built, the query will also fail
        return 1

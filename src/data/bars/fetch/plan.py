"""Plans what to request for the missing bars: one plan, for fetching and for the dry run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...cache.store import Commit, CommitPiece
from ...calendars.calendar import first_unclosed
from ...calendars.finality import due_spans
from ...calendars.gaps import missing
from ...calendars.grid import BarGrid, GridOutline
from ...errors import BadRangeError, DataError
from ...model.bars import BarTable
from ...model.capabilities import Capabilities, FetchQuery
from ...model.coverage import Coverage, Covered
from ...model.instant import DAY_MS, MINUTE_MS
from ...model.lifetime import Lifetime
from ...model.span import Span, coalesce, gaps, intersect, subtract, touching
from ...model.timeframe import Timeframe
from ...prices.splice import COMMON
from ...vendors.archives import REQUESTS_A_MONTH, pieces
from ...vendors.paging import windows
from ...vendors.registry import is_free, is_sample
from ..answer.slots import back, may_open
from ..selection.source_check import SourceCheck, is_same
from ..series import Journal, LaneRequest, SeriesStore
from ..validity import (
    AHEAD,
    BEFORE_FIRST,
    CHANGED,
    CLOSED,
    RELAID,
    UNEXPECTED,
    after_change,
    doubted,
    fetched_ahead,
    has_loose_hours,
    is_older,
    is_proof,
    is_unasked,
    lifetime_of,
    may_hold_more,
    split_windows,
)

# So many bars before a segment are asked again with it once they have settled.
_FEW_UNSETTLED = 8


@dataclass(frozen=True)
class FetchPlan:
    """What a lane has to do for a request.

    Attributes:
        wanted: the stamps the answer is for.
        cap: stamp of the first bar that has not closed.
        segments: what to ask for.
        closed: what is not asked: no bar is expected there, and none is known at such hours.
        stored: what was stored when this was planned, if anything of it was wanted.
        generation: of the series when this was planned.
    """

    wanted: Span
    cap: int
    segments: tuple[Span, ...] = ()
    closed: tuple[Span, ...] = ()
    stored: Coverage = Coverage()
    generation: int = 0


def wanted_span(request: LaneRequest, series: SeriesStore, bars: int | None = None) -> Span:
    """Return the stamps wanted; a count reaches ``bars`` back from the last closed bar.

    By default as many as the query wants.
    """
    query = request.query
    if query.bars is None:
        return query.span
    end, count = min(query.span.end, cap_of(request, series)), bars or query.bars
    return Span(back(request.grid, end, count, request.lane.kind), query.span.end)


def cap_of(request: LaneRequest, series: SeriesStore) -> int:
    """Return the stamp of the first bar that has not closed."""
    grid = request.grid
    return first_unclosed(grid.calendar, grid.timeframe, series.now_ms(), grid.anchor)


def plan_fetch(
    request: LaneRequest,
    series: SeriesStore,
    journal: Journal,
    wanted: Span,
    sources: SourceCheck,
) -> FetchPlan:
    """Look at what is held as if for the first time, and say what to do.

    Args:
        request: what is asked of the lane.
        series: where it is stored; it takes what a plan changes before anything is asked.
        journal: what was tried.
        wanted: the stamps wanted.
        sources: tells whether files have changed that bars were read from.
    """
    if request.query.provider is not None and not request.query.refresh:
        adopt(request, series, wanted)
    _doubt_changed(request, series, journal, sources)
    _doubt_ahead(series)
    doubt_near_splits(request, series, journal)
    journal.overdue.clear()  # what the doubt concerns is in the plan
    return plan_lacking(request, series, journal, wanted)


def _doubt_changed(
    request: LaneRequest, series: SeriesStore, journal: Journal, sources: SourceCheck
) -> None:
    """Take trust from all that was read of files which have changed since, if any were read.

    An offline call reads no file: its answer says that they have changed.
    """
    query = request.query
    reader = next((c for c in request.lane.candidates if c.folder_lane), None)
    if reader is None or reader.folder_lane != request.key.of_folder:
        return
    view, now = series.view(), series.now_ms()
    state = sources.now(reader.downloader, query.instrument, request.key.timeframe, view.source)
    series.source = state
    if not view.exists or is_same(view.source, state):
        return
    is_relaid = bool(view.source and state and view.source.reading != state.reading)
    reason = RELAID if is_relaid else CHANGED
    if query.offline:
        journal.outdated = reason
        journal.problems += [reason] if reason not in journal.problems else []
        return
    marks = tuple(after_change(view.coverage, now, reason))
    if is_sample(query.provider):
        series.forget_actions()
    bounds = (view.lifetime.listed, view.lifetime.delisted)
    life = Lifetime(*(bound and bound._replace(expires=now) for bound in bounds))
    series.commit(Commit(marks=marks, next_due=now, lifetime=life))


def _doubt_ahead(series: SeriesStore) -> None:
    """Take trust from what was learned at a time that has not come yet."""
    now = series.now_ms()
    marks = [
        replace(part, fetched_at=now, expires=now)
        if part.state == "empty"
        else replace(part, state="suspect", reason=AHEAD, fetched_at=now, expires=now)
        for part in fetched_ahead(series.view(), now)
    ]
    if marks:
        series.commit(Commit(marks=tuple(marks), next_due=now))


def doubt_near_splits(request: LaneRequest, series: SeriesStore, journal: Journal) -> None:
    """Take trust from bars that were fetched close to a split, also one learned since."""
    splits = series.book().splits
    if not splits:
        return
    coverage = series.view().coverage.opened()
    near = split_windows(splits, request.grid.calendar, [part.fetched_at for part in coverage])
    marks, now = doubted(coverage, near), series.now_ms()
    if marks:
        series.commit(Commit(marks=tuple(marks)))
        journal.overdue += [mark.span for mark in marks if not mark.stands(now)]


def plan_lacking(
    request: LaneRequest, series: SeriesStore, journal: Journal, wanted: Span
) -> FetchPlan:
    """Say what to ask for: nothing that is held, nothing that has not closed."""
    query, grid = request.query, request.grid
    view, now, cap = series.view(), series.now_ms(), cap_of(request, series)
    reach = Span(wanted.start, min(wanted.end, cap))
    if reach.is_empty:
        return FetchPlan(wanted, cap, generation=view.generation)
    reach = _with_closed_hours(reach, request)
    stored = series.coverage()
    coverage = _trusted(request, stored.opened(reach), reach, now)
    is_refresh = query.refresh and not journal.attempts
    # A closed market is not asked for its own sake. Beside what is asked it is covered, too: bars
    # may stand there that the calendar does not expect.
    believed = Coverage(
        c for c in coverage if not (_is_open(c, request, journal, now) or is_unasked(c))
    )
    covered = (
        []
        if is_refresh
        else [
            *believed.standing(now, reach),
            *_beyond(lifetime_of(view), request, journal, now),
        ]
    )
    touched = Coverage(c for c in coverage if c.span.overlaps(reach))
    due = due_spans(touched, grid, request.settle_ms, now)
    lacking = missing(reach, covered, due, grid)
    past = Span(reach.start, grid.first_open(cap, now))
    segments = [s.clip(past) for s in lacking.segments]
    if not is_refresh:
        segments = _with_unsettled(segments, coverage, request, now)
    if request.lane.candidates[0].adjustment != "unknown":
        segments = with_overlap(segments, coverage, grid, cap)
    is_first = not (view.exists or segments or journal.attempts)
    unfilled = coalesce(part.span for part in journal.unfilled)
    worth_asking = [
        s
        for s in lacking.closed
        if is_first or _is_worth_asking(s, stored, request, unfilled, is_refresh=is_refresh)
    ]
    to_ask = intersect(worth_asking, [past])
    closed = tuple(subtract(lacking.closed, to_ask))
    if to_ask:
        segments = coalesce([*segments, *to_ask])
    # A number of bars reaches back in steps: what the steps before had asked is not news.
    segments = subtract(segments, (Span(a.start_ms, a.end_ms) for a in journal.attempts))
    if query.include_forming and segments and segments[-1].end == past.end:
        # The running bar comes along with the closed ones before it.
        segments[-1] = Span(segments[-1].start, max(wanted.end, past.end + MINUTE_MS))
    return FetchPlan(wanted, cap, tuple(segments), closed, stored, view.generation)


def _with_closed_hours(reach: Span, request: LaneRequest) -> Span:
    """Return ``reach`` with all of the closed hours in which it begins or ends, if bars may be there.

    Which part of them is wanted depends on the question, and so would the bounds of what is known.
    """
    if not has_loose_hours(request.query.instrument):
        return reach
    grid, (start, end) = request.grid, reach
    if grid.next_open(start) > start:
        try:
            last = grid.back(start, 1)
        except BadRangeError:  # calendars do not reach so far back
            return Span(start, grid.next_open(end))
        start = min(start, last + min(grid.timeframe.longest_ms, DAY_MS))
    return Span(start, grid.next_open(end))


def _is_worth_asking(
    closed: Span,
    stored: Coverage,
    request: LaneRequest,
    unfilled: Sequence[Span],
    *,
    is_refresh: bool,
) -> bool:
    """Tell whether a vendor is asked for a stretch in which no bar is expected.

    Not again in the request in which it was asked in vain: what is ``unfilled``, ascending.
    """
    if touching(unfilled, closed):
        return False
    if not may_open(request.grid, closed, request.lane.kind):
        return False
    is_own = is_free(request.lane.candidates[0].name)
    return is_refresh or is_own or may_hold_more(stored, closed, request.query.instrument)


def _with_unsettled(
    segments: list[Span], coverage: Coverage, request: LaneRequest, now_ms: int
) -> list[Span]:
    """Let segments begin with the last bars before them that have settled since their fetch.

    A question of every night, asked before its last bar had settled, would leave one such bar
    for each night, which the next one never reaches.
    """
    due = {span.end: span for span in due_spans(coverage, request.grid, request.settle_ms, now_ms)}
    widened = []
    for start, end in segments:
        before = due.get(start)
        room = 0 if before is None else _room(Span(start, end), request)
        if before is not None and room:
            start = max(before.start, request.grid.back(start, room))
        widened.append(Span(start, end))
    return coalesce(widened)


def _room(segment: Span, request: LaneRequest) -> int:
    """Return how many bars more may be asked for with ``segment`` for no request more."""
    caps = request.lane.candidates[0].capabilities
    if caps is None or not caps.page_bars:
        return _FEW_UNSETTLED
    # A full page does not tell that it is the last.
    return min(_FEW_UNSETTLED, max(-request.grid.outline(segment).bars % caps.page_bars - 1, 0))


def _is_open(part: Covered, request: LaneRequest, journal: Journal, now_ms: int) -> bool:
    """Tell whether a vendor of the lane has not been asked yet for bars that others do not have.

    What two vendors prove to lie before a listing is not; what one vendor's silence was taken to
    prove once is.
    """
    if part.state != "empty" or part.reason == CLOSED or is_proof(part):
        return False
    return part.reason == BEFORE_FIRST or any(
        not candidate.has_answered(part)
        for candidate in request.lane.candidates
        if candidate.name not in journal.excluded
        and not candidate.servable(part.span, request.grid.timeframe, now_ms).is_empty
    )


def _beyond(life: Lifetime, request: LaneRequest, journal: Journal, now_ms: int) -> list[Span]:
    """Return the stamps beyond a listing or an end; no end that one of the lane did not see."""
    end = life.delisted
    if end is not None and not all(
        candidate.has_answered(Covered(Span(end.at, end.at + 1), "empty", end.source))
        for candidate in request.lane.candidates
        if candidate.name not in journal.excluded
    ):
        life = replace(life, delisted=None)
    return life.beyond(now_ms)


def _trusted(request: LaneRequest, coverage: Coverage, reach: Span, now_ms: int) -> Coverage:
    """Leave out stock bars of unknown basis if new ones would have to be spliced to them.

    Caches of older tools do not say what their prices are adjusted for. They may answer alone;
    as soon as anything must be fetched beside them, or stands there already, the whole stretch is
    fetched.
    """
    adjustable = request.lane.candidates[0].adjustment != "unknown"
    if request.query.instrument.asset_class != "stock" or not adjustable:
        return coverage
    bases = {c.basis.adjustment for c in coverage.within(reach) if c.state != "empty"}
    lacking = gaps(reach, coverage.standing(now_ms, reach))
    # Older tools wrote nothing of weekends.
    if len(bases) < 2 and not any(request.grid.next_open(g.start) < g.end for g in lacking):
        return coverage
    return Coverage(c for c in coverage if c.state == "empty" or c.basis.adjustment != "unknown")


# --- a pinned vendor's bars that stand in the default lane need not be asked again


def adopt(request: LaneRequest, series: SeriesStore, wanted: Span) -> None:
    """Copy what the pinned vendor supplied to the default lane into its own, where it lacks it.

    Only final bars are taken, and those off the calendar, for which alone no vendor would be asked;
    as they are: with their basis and the time they were fetched. Those in which something was made
    good are not what the vendor sent.
    """
    default = request.query.home_key
    wanted = _with_closed_hours(wanted, request)
    lacking = gaps(wanted, [c.span for c in series.coverage().within(wanted) if not is_unasked(c)])
    if not lacking or default == request.key:
        return
    shared = series.other_series(default)
    theirs = _theirs(shared.view().coverage, wanted, request)
    commits = []
    for span in intersect(lacking, [part.span for part in theirs]):
        # Bars and what is known of them by one look: a repair on the way takes from both.
        rows, coverage = shared.read(span)
        commits += [_copied(rows, part) for part in _theirs(coverage, span, request)]
    if commits:
        pieces = tuple(piece for commit in commits for piece in commit.pieces)
        marks = tuple(mark for commit in commits for mark in commit.marks)
        series.commit(Commit(pieces, marks))


def _theirs(coverage: Coverage, span: Span, request: LaneRequest) -> list[Covered]:
    """Return what the pinned vendor sent as it is, within ``span``."""
    return [
        part
        for part in coverage.within(span)
        if (part.state == "final" or part.reason == UNEXPECTED)
        and part.vendor == request.query.provider
        and not part.is_rescaled
        # What was converted for the default lane is none of the vendor's own.
        and part.kind.agrees(request.lane.kind)
    ]


def _copied(table: BarTable, part: Covered) -> Commit:
    rows = table.within(part.span)
    if not len(rows):
        return Commit(marks=(replace(part, state="empty", reason=CLOSED, splices=()),))
    piece = CommitPiece(
        rows, part.span, part.vendor, part.fetched_at, part.kind, part.basis, "final"
    )
    return Commit((piece,), (part,) if part.state == "suspect" else ())


# --- bars of older tools: what they are is not known, so a few are compared before any is joined to
# them. Shares are stricter (see `_trusted`): theirs are fetched anew as soon as anything is fetched
# beside them, for nothing tells how they were adjusted.


def with_overlap(
    segments: Iterable[Span], coverage: Coverage, grid: BarGrid, cap: int
) -> list[Span]:
    """Let segments reach a few bars into what older tools left beside them."""
    older = [part.span for part in coverage if is_older(part)]
    by_start, by_end = {span.start: span for span in older}, {span.end: span for span in older}
    widened = []
    for start, end in segments:
        if before := by_end.get(start):
            start = max(before.start, grid.back(start, COMMON))
        while (behind := by_start.get(end)) and (further := min(behind.end, cap)) > end:
            end = min(further, _behind(grid, end))
        widened.append(Span(start, end))
    return coalesce(widened)


def _behind(grid: BarGrid, stamp: int) -> int:
    """Return the stamp behind the next few expected bars."""
    for _ in range(COMMON):
        stamp = grid.next_open(stamp) + 1
    return grid.next_open(stamp)


# --- what a stretch costs with one vendor: requests, and units of its limits


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
    asked = windows(span, grid.timeframe, days=days)
    return sum(
        _pages(expected, window.end, capabilities.page_bars, step)
        for window, expected in zip(asked, grid.outlines(asked), strict=True)
    )


def archive_requests(
    capabilities: Capabilities | None, span: Span, grid: BarGrid, now_ms: int
) -> int:
    """Return how many requests of ``span`` go to the vendor's archive."""
    parts = pieces(span, grid.timeframe, capabilities, now_ms) if capabilities else ()
    return REQUESTS_A_MONTH * sum(piece.is_archived for piece in parts)


def _pages(expected: GridOutline, end: int, most: int, step: int) -> int:
    """Return the pages of at most ``most`` bars that hold the ``expected`` ones; 0 means no such limit."""
    if not most or expected.last is None:
        return 1
    full, rest = divmod(expected.bars, most)
    # A full last page does not tell that it was the last.
    return full + (1 if rest or expected.last + step < end else 0)


def cost_of(downloader: Any, query: FetchQuery) -> int:
    """Return the units of its limits that one request takes; 1 where the vendor does not tell.

    The request is built, and not sent.
    """
    build = getattr(downloader, "bars_request", None)
    try:
        return int(build(query, None).cost) if build is not None else 1
    except DataError:  # what is refused when it is built is refused when it is asked
        return 1

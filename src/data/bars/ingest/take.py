"""Processes one vendor's answer: checks it, classifies it, and stores the good part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from functools import partial

import numpy as np

from ...cache.faults import Fault
from ...cache.store import Commit, SeriesView
from ...cache.values import no_check
from ...calendars.calendar import first_unclosed
from ...calendars.finality import next_due
from ...calendars.grid import BarGrid
from ...errors import BadRangeError, CacheError, KindMismatchError, QualityError
from ...model.bars import BarTable, among, inside
from ...model.capabilities import Fetched
from ...model.coverage import Coverage, Covered, Stretches, stretches
from ...model.edges import difference, edges_of, spans_of
from ...model.instant import DAY_MS, date_of, day_ms
from ...model.kind import Basis, Kind
from ...model.lifetime import FIELD, Bound, Lifetime
from ...model.reasons import DOUBTFUL, RESCALED
from ...model.span import Span, intersect, subtract, touching
from ...net.deadline import check_time
from ...prices.judgement.series import DailySessions
from ...prices.judgement.sessions import daily_sessions, proven
from ...prices.quality import CheckedRows, check
from ...prices.splice import COMPARED, ONE_MARKET
from ..selection.candidates import Candidate
from ..series import Forming, LaneRequest, SeriesStore, VendorQuestion
from ..validity import LONGEST_MS, Suspicion, beside_filled, doubted, is_older, split_doubt
from .commit import (
    CommitContext,
    StoredRange,
    are_many,
    basis_of,
    beside_doubted,
    build_commit,
    later_marks,
    without_kept,
    without_rescaled,
)
from .judge import JudgementContext, judge
from .receive import (
    CommonBasis,
    FittedAnswer,
    ReceivedAnswer,
    check_kind,
    common_basis,
    fit,
    receive,
    sessions_around,
    with_splices,
)
from .sorted_answer import ClassifiedAnswer, Density, faults_of, sorted_answer

# Tolerances for two answers from one vendor in one basis (single precision is good to 6e-8), and
# for rebased ones, where the rounding of an adjustment adds to that. Bars without corporate actions
# are compared to the last bit.
_AS_SENT, _REBASED = 1e-7, 1e-6
# Number of rows up to which an answer is stored so quickly that it is not discarded when the call's
# time is over.
_WORTH_STOPPING = 10_000
_ALL_DAYS = Span(day_ms(date(1800, 1, 1)), day_ms(date(9999, 1, 1)))


@dataclass(frozen=True)
class CheckedAnswer:
    """An answer after its rows have been checked and classified.

    Attributes:
        fitted: Answer fitted to the bars next to it.
        check: Result of checking its rows.
        grid: Grid of its bars.
        classified: Rows sorted by finality, and the missing spans.
    """

    fitted: FittedAnswer
    check: CheckedRows
    grid: BarGrid
    classified: ClassifiedAnswer


@dataclass(frozen=True)
class ComparedAnswer:
    """A checked answer together with the bars stored for its span.

    Attributes:
        checked: The checked answer.
        classified: Rows of the answer, except for those whose prices came back multiplied by a
            factor, and those that another vendor's doubtful bars take precedence over.
        stored: Bars stored for the span, as they are and in the answer's basis.
        surroundings: Stored bars to compare new bars with: those in the span and a few on either
            side or, for daily bars, the whole series.
        view: View of the series from the same read.
    """

    checked: CheckedAnswer
    classified: ClassifiedAnswer
    stored: StoredRange
    surroundings: StoredRange
    view: SeriesView


@dataclass(frozen=True)
class ProcessedAnswer:
    """The result of processing an answer.

    Attributes:
        classified: Rows of the answer, sorted and judged.
        fetched: Missing spans that the answer covers.
        doubtful: Spans of stored bars that the answer made doubtful and that can be fetched again
            immediately.
        forming: Bars that have not closed, or None.
        score: Score of the rows, 0 to 1.
        problems: Descriptions of problems with the rows, unless they were stored with the rows.
    """

    classified: ClassifiedAnswer
    fetched: tuple[Span, ...]
    doubtful: tuple[Span, ...]
    forming: Forming | None
    score: float
    problems: tuple[str, ...]


def process_answer(
    request: LaneRequest,
    series: SeriesStore,
    candidate: Candidate,
    question: VendorQuestion,
    fetched: Fetched,
) -> ProcessedAnswer:
    """Check a candidate's answer, store the good part of it, and return the outcome.

    The steps, each of which uses the results of those before it:

    1. :func:`receive`: determine the requested span, the date of the answer, and the ex-dates that
       the answer reports on.
    2. :func:`fit`: compare the answer with adjacent bars from other vendors, using its own splits
       and dividends, which are not stored yet; then drop rows that were not missing.
    3. :func:`_check`: check the rows, and sort them by finality. This follows step 2, which may
       multiply prices by a factor.
    4. :func:`_refuse_unusable`: reject an unusable answer. This is before step 5, because the
       splits in such an answer must not be stored.
    5. :func:`_store_actions`: store splits and dividends. This is before step 6, which compares
       bars in the basis that they define.
    6. :func:`_compare`: read the stored bars, once. All later steps use the view from this read,
       so the kind is checked again. Rows whose prices came back multiplied by a factor are
       dropped; if there are many, the answer is rejected.
    7. :func:`_judge`: find bars that are almost certainly wrong in comparison with neighbors and
       stored rows.
    8. :func:`_complete_commit`: build the commit. Its coverage changes come from step 7 and, for
       bars near splits, from step 5; its faults are those of the remaining rows.
    9. Store the commit in the series, which keeps in memory anything that cannot be written to
       disk.

    Args:
        request: Request to the lane.
        series: Store of the series.
        candidate: Vendor that answered.
        question: Question that was sent to that vendor.
        fetched: The answer.

    Raises:
        NoDataError: The answer has nothing for the missing spans.
        KindMismatchError: The answer differs in kind from the stored bars, or conflicts with them.
        QualityError: The answer is not trusted.
        ProviderTimeoutError: The caller's time limit expired while a long answer was being
            processed; none of it is stored.
    """
    received = receive(request, series, candidate, question, fetched)
    fitted = fit(request, series, received)
    checked = _check(request, series, fitted)
    is_long = len(fetched.table) > _WORTH_STOPPING
    stop_if_late = partial(check_time, fetched.vendor) if is_long else no_check
    stop_if_late()
    _refuse_unusable(request, series, checked)
    _store_actions(request, series, checked)
    compared = _compare(request, series, checked)
    judged = _judge(request, series, compared)
    stop_if_late()
    new = without_kept(judged, fetched.vendor)
    commit, doubtful = _complete_commit(request, series, compared, new)
    stop_if_late()
    is_whole = not (doubtful or judged.lacking or judged.holes or judged.requested)
    series.commit(commit, stop_if_late, ends_fetching=question.ends_fetching and is_whole)
    # Stored problems are read together with the bars.
    is_unstored = any(unstored is commit for unstored in series.unstored)
    return ProcessedAnswer(
        judged,
        tuple(intersect(judged.spans, [received.question.span])),
        doubtful,
        _forming_bars(request, received, judged.forming),
        checked.check.score,
        tuple(checked.check.problems) if is_unstored else (),
    )


def take_forming(
    request: LaneRequest,
    series: SeriesStore,
    candidate: Candidate,
    question: VendorQuestion,
    fetched: Fetched,
) -> Forming | None:
    """Return the forming bar from an answer that was requested only for it; None if it has closed.

    Nothing is stored.

    Raises:
        KindMismatchError: The answer differs in kind from the stored bars, or conflicts with them.
        NoDataError: The answer has no bars in the span.
    """
    check_kind(series.view().kind, request, fetched)
    received = ReceivedAnswer(candidate, fetched, question, sessions_around(request, fetched))
    fitted = fit(request, series, received).fetched
    checked = check(
        fitted.table,
        question.span,
        timeframe=request.grid.timeframe,
        now_ms=series.now_ms(),
        grid=_grid_of(request, fitted),
    )
    return _forming_bars(request, received, checked.good)


def _forming_bars(request: LaneRequest, received: ReceivedAnswer, rows: BarTable) -> Forming | None:
    """Return the answer's bars that have not closed and are never stored; None if all have closed."""
    if not len(rows):
        return None
    fetched, opened = received.fetched, received.sessions.opened
    basis = basis_of(fetched, int(rows.stamps[0]), request.query, opened)
    return Forming(rows, fetched.vendor, basis, fetched.kind)


# --- 3 to 5: checking the rows, deciding whether to trust them, and their actions


def _check(request: LaneRequest, series: SeriesStore, fitted: FittedAnswer) -> CheckedAnswer:
    received, fetched, now_ms = fitted.received, fitted.fetched, series.now_ms()
    grid, asset_class = _grid_of(request, fetched), request.query.instrument.asset_class
    checked = check(
        fetched.table,
        received.span,
        timeframe=grid.timeframe,
        now_ms=now_ms,
        grid=grid,
        volume=fetched.kind.needs_volume(asset_class, fetched.vendor),
    )
    # For downloaders that are not part of this library, it is unknown whether a missing bar is a
    # gap.
    density: Density = "dense" if fetched.dense else "sparse"
    if not request.checks.check_gaps or received.candidate.capabilities is None:
        density = "unknown"
    least, spans = request.checks.min_quality_score, received.question.missing_parts
    classified = sorted_answer(fetched, checked, received.span, grid, now_ms, density, least, spans)
    return CheckedAnswer(fitted, checked, grid, classified)


def _refuse_unusable(request: LaneRequest, series: SeriesStore, checked: CheckedAnswer) -> None:
    """Raise an error for an answer that is not usable, if bars for its span are already stored.

    Raises:
        QualityError: The answer is not usable; the message gives the reason.
    """
    classified, received = checked.classified, checked.fitted.received
    if classified.is_usable or not len(series.read(received.question.span)[0]):
        return
    vendor = received.fetched.vendor
    raise QualityError(
        f"{vendor} is not trusted for {request.query}: {classified.doubt}",
        provider=vendor,
        symbol=request.query.instrument.symbol,
        hint="the stored bars were kept; validation.min_quality_score sets the threshold",
    )


def _store_actions(request: LaneRequest, series: SeriesStore, checked: CheckedAnswer) -> None:
    """Store the splits and dividends that came with bars, for the requested ex-dates."""
    received, fetched = checked.fitted.received, checked.fitted.fetched
    ex_dates, caps = received.actions, received.candidate.capabilities
    if ex_dates is None:
        return
    actions = [a for a in fetched.actions or () if day_ms(a.ex_date) in ex_dates.span]
    if caps is not None and caps.actions_by_bar and not request.grid.timeframe.is_intraday:
        rows = fetched.table.stamps[inside(fetched.table.stamps, [ex_dates.span])]
        first = int(rows.min()) if len(rows) else None
        calendar = request.grid.calendar
        ex_dates = ex_dates._replace(span=series.reported_ex_dates(ex_dates.span, first, calendar))
    series.add_actions(actions, ex_dates)


# --- 6: comparison with the stored bars


def _compare(request: LaneRequest, series: SeriesStore, checked: CheckedAnswer) -> ComparedAnswer:
    """Read the bars stored for the answered span; drop new rows with prices off by a factor.

    Raises:
        KindMismatchError: In the meantime, another writer stored bars of a different kind.
        QualityError: Many final bars came back with prices off by a factor.
    """
    fetched = checked.fitted.fetched
    stored, surroundings = _read_stored(request, series, checked)
    # The answer is stored next to the current bars, which another writer may since have changed.
    view = series.view()
    check_kind(view.kind, request, fetched)
    is_share = request.query.instrument.asset_class == "stock"
    matching = without_rescaled(checked.classified, stored, fetched.vendor, splits=not is_share)
    _refuse_rescaled(request, fetched, matching)
    classified = beside_doubted(matching, stored, fetched.vendor)
    return ComparedAnswer(checked, classified, stored, surroundings, view)


def _read_stored(
    request: LaneRequest, series: SeriesStore, checked: CheckedAnswer
) -> tuple[StoredRange, StoredRange]:
    """Read the bars stored for the answered span, as they are and in the answer's basis.

    The second value contains the stored bars to compare new bars with, which are the bars in the
    span and a few on either side or, for daily bars, the whole series. It is empty if there may be
    an unknown split between two fetches.
    """
    classified, received = checked.classified, checked.fitted.received
    answered = classified.answered
    sides = _with_sides(request.grid, answered)
    timeframe = request.grid.timeframe
    is_of_days = not timeframe.is_intraday and timeframe.step_ms == DAY_MS
    reach = _ALL_DAYS if is_of_days else sides
    try:
        all_rows, all_coverage = series.read(reach, is_use=False)
    except CacheError:  # a year that cannot be read does not affect the other years
        all_rows, all_coverage = series.read(sides, is_use=False)
    rows, coverage = all_rows.within(answered), all_coverage.within(answered)
    if classified.requested:
        rows = rows.take(inside(rows.stamps, classified.requested))
        coverage = Coverage(entry for span in classified.spans for entry in coverage.within(span))
    if received.sessions.opened is None:
        return StoredRange(rows, rows, coverage), StoredRange(all_rows, all_rows, all_coverage)
    if received.fetched.basis.adjustment == "unknown":
        none = BarTable.empty()
        return StoredRange(rows, rows, coverage, _AS_SENT), StoredRange(none, none, Coverage())
    basis = common_basis(request, received, series.book())

    def rebased(table: BarTable, *, surely: bool = False) -> BarTable:
        """Return bars converted to the answer's basis; empty if they cannot be converted.

        ``adj_close`` is converted with the known actions: next to others, it shows unknown ones.
        """
        try:
            converted = basis.of(table, all_coverage, surely=surely)
            adj = converted.adj_close
            if surely and adj is not None and np.isnan(adj).any():
                converted = converted.with_adj_close(basis.of(table, all_coverage).adj_close)
        except KindMismatchError:
            return BarTable.empty()
        return converted

    comparable = rebased(rows) if len(rows) else rows
    tolerance = _AS_SENT if comparable is rows else _REBASED
    surroundings = StoredRange(all_rows, rebased(all_rows, surely=True), all_coverage)
    if len(all_rows) and not len(surroundings.rebased):  # old ones may be unknown
        neighbors = all_rows.within(sides)
        entries = all_coverage.within(sides)
        surroundings = StoredRange(neighbors, rebased(neighbors, surely=True), entries)
    return StoredRange(rows, comparable, coverage, tolerance), surroundings


def _refuse_rescaled(request: LaneRequest, fetched: Fetched, classified: ClassifiedAnswer) -> None:
    """Raise an error if many final bars were resent with prices off by a factor.

    If only a few were, these count as bad rows.

    Raises:
        QualityError: Many final bars came back with prices off by a factor.
    """
    rescaled = sum(row.reason == RESCALED for row in classified.bad)
    if rescaled and are_many(rescaled, rescaled + len(classified.closed)):
        raise QualityError(
            f"{fetched.vendor} returned {rescaled} final bars multiplied by a constant factor: its "
            f"basis for {request.query} has changed without notice",
            provider=fetched.vendor,
            hint="the stored bars were kept; clear the series if they are the wrong ones",
        )


# --- 7: bars that are almost certainly wrong


def _judge(request: LaneRequest, series: SeriesStore, compared: ComparedAnswer) -> ClassifiedAnswer:
    """Return the answer with verdicts on bars that are almost certainly wrong."""
    fitted = compared.checked.fitted
    fetched, opened = fitted.fetched, fitted.received.sessions.opened
    context = JudgementContext(
        vendor=fetched.vendor,
        kind=fetched.kind,
        basis=Basis(fetched.basis.adjustment),
        instrument=request.query.instrument,
        book=series.book(),
        day=None if opened is None else date_of(opened),
        sessions=_sessions(request, series, compared),
        grid=request.grid,
        now_ms=series.now_ms(),
        surroundings=compared.surroundings,
        coverage=series.coverage(),
    )
    return judge(compared.classified, compared.stored, context)


def _sessions(
    request: LaneRequest, series: SeriesStore, compared: ComparedAnswer
) -> DailySessions | None:
    """Return the stored daily bars for an answer's intraday bars, in the same adjustment.

    The result is None if no daily bars are comparable. Daily bars of regular hours prove nothing
    about extended hours.
    """
    received, stamps = compared.checked.fitted.received, compared.classified.closed.stamps
    adjustment = received.fetched.basis.adjustment
    if not request.grid.timeframe.is_intraday or request.key.is_extended or not len(stamps):
        return None
    if received.sessions.opened is not None and adjustment not in ("raw", "split"):
        return None
    # A session may open on the UTC day before its date.
    span = Span(int(stamps[0]) - DAY_MS, int(stamps[-1]) + DAY_MS)
    basis = CommonBasis("split", received.sessions.opened, series.book(), intraday=False)
    try:
        days, coverage = series.other_series(request.key.days).read(span, is_use=False)
        days = days.take(inside(days.stamps, proven(coverage)))
        return daily_sessions(basis.of(days, coverage, surely=True), request.grid.calendar)
    except (CacheError, KindMismatchError):
        return None


# --- 8: the part that is stored


def _complete_commit(
    request: LaneRequest, series: SeriesStore, compared: ComparedAnswer, judged: ClassifiedAnswer
) -> tuple[Commit, tuple[Span, ...]]:
    """Return the commit for a judged answer, and the spans of stored bars to fetch again immediately.

    1. Build the commit of the answer's own bars and gaps (:func:`.commit.build_commit`).
    2. Add marks for stored bars outside the answer that it makes doubtful: bars fetched close to a
       split, bars from older tools that it contradicts, and bars with a basis in the future.
    3. Add the facts about the series: comparisons with other vendors, when to fetch again, faults,
       kind and lifetime.
    """
    checked, stored, view = compared.checked, compared.stored, compared.view
    fetched, received = checked.fitted.fetched, checked.fitted.received
    question, now = received.question, _now_ms(series, fetched)
    first = int(judged.closed.stamps[0]) if len(judged.closed) else judged.answered.start
    others, doubt = _split_doubts(series, fetched)
    context = CommitContext(
        grid=request.grid,
        basis=basis_of(fetched, first, request.query, received.sessions.opened),
        now_ms=now,
        expiry=request.expiry,
        settle_ms=fetched.settle_ms,
        doubt=received.clock_doubt or doubt,
        is_refresh=request.query.refresh,
    )
    commit = build_commit(fetched, judged, stored, context)
    answered = judged.spans
    # Trust in bars fetched earlier is withdrawn before this answer can be joined to them.
    older = _older_marks(series, fetched, judged, stored)
    coverage = series.coverage().opened()
    holes = beside_filled(coverage, judged.closed.stamps, now)
    outside = [
        replace(mark, span=span)
        for mark in (*others, *older, *holes, *later_marks(coverage, fetched, context))
        for span in subtract([mark.span], touching(answered, mark.span))
    ]
    marked = replace(commit, marks=Stretches.chained([outside, commit.marks]))
    judged_span = Span(judged.answered.start, max(judged.answered.end, question.until_ms))
    is_compared = not view.rows or not question.with_own_bars_before.is_empty
    whole = replace(
        with_splices(marked, checked.fitted.splices, received.span),
        next_due=_due_ms(request, series, fetched, judged, marked),
        judged=judged_span,
        faults=(
            *faults_of(checked.check, judged, checked.grid, stored.stays(judged.closed.stamps)),
            *_older_faults(view, question, judged_span),
        ),
        kind=_kind(view, request, received.candidate, fetched),
        has_verdicts=True,
        compared_at=series.now_ms() if is_compared else None,
        lifetime=_lifetime(request, series, fetched),
    )
    return whole, tuple(mark.span for mark in outside if not mark.is_valid(now))


def _now_ms(series: SeriesStore, fetched: Fetched) -> int:
    """Return the answer's time by the local or the vendor's clock, whichever is earlier."""
    return min(series.now_ms(), fetched.server_now_ms)


def _split_doubts(series: SeriesStore, fetched: Fetched) -> tuple[list[Covered], Suspicion | None]:
    """Return coverage that marks stored bars fetched close to a split as doubtful.

    The second value is the suspicion about the new bars, if they were fetched close to a split.
    """
    splits = series.book().splits
    if not splits or fetched.basis.adjustment not in ("split", "all"):
        return [], None
    coverage = series.coverage().opened()
    return doubted(coverage, splits), split_doubt(splits, fetched.adjusted_at_ms)


def _older_marks(
    series: SeriesStore,
    fetched: Fetched,
    judged: ClassifiedAnswer,
    stored: StoredRange,
) -> list[Covered]:
    """Return coverage that marks older tools' bars as suspect if this answer contradicts them."""
    if fetched.basis.adjustment == "unknown" or not any(map(is_older, stored.coverage)):
        return []
    coverage, now_ms = series.coverage(), series.now_ms()
    return contradicted(stored, judged.closed, coverage, fetched.vendor, now_ms)


def _lifetime(request: LaneRequest, series: SeriesStore, fetched: Fetched) -> Lifetime:
    """Return a lifetime that begins on the listing date, if the vendor sent a new one; else empty.

    The lifetime begins at the start of that day. For weekly and monthly bars it begins earlier,
    because the first bar opens before the listing.
    """
    if fetched.listed_ms is None:
        return Lifetime()
    longest = 0 if request.grid.timeframe.unit not in "wM" else request.grid.timeframe.count * 31
    listed_ms = fetched.listed_ms // DAY_MS * DAY_MS - longest * DAY_MS
    now, listed = _now_ms(series, fetched), series.lifetime().listed
    if listed is not None and listed.at == listed_ms and now < listed.expires:
        return Lifetime()
    return Lifetime(Bound(listed_ms, fetched.vendor, now, now + LONGEST_MS, FIELD))


def _due_ms(
    request: LaneRequest,
    series: SeriesStore,
    fetched: Fetched,
    judged: ClassifiedAnswer,
    commit: Commit,
) -> int | None:
    """Return the time from which refetching could change the answer; None to keep the old time.

    All provisional bars of the series are considered. A bar that an earlier request left
    provisional must not count as settled just because a later request reached up to now.
    """
    grid = request.grid
    now = _now_ms(series, fetched)
    cap_ms = first_unclosed(grid.calendar, grid.timeframe, now, grid.anchor)
    due_before = series.view().next_due
    coverage = series.coverage()
    # An answer by a vendor whose clock is behind ours may contain nothing that is stored. Then the
    # time would be counted from the end of older bars.
    ends = [entry.span.end for entry in (*coverage[-1:], *commit.pieces)]
    ends += stretches(commit.marks).columns.ends.tolist()
    end = min(judged.answered.end, max(ends, default=0))
    # After the last closed bar there may be hours in which the market is closed.
    up_to_now = (end >= cap_ms or grid.next_open(end) >= cap_ms) and judged.unpublished is None
    if not up_to_now and due_before is None:
        return None
    first = min(_provisional(coverage, judged, commit, grid), default=None)
    due = next_due(
        grid,
        now_ms=now,
        settle_ms=fetched.settle_ms,
        # This is the last bar that could have been received, not the last that was, because a bar
        # without trades does not mean a delay.
        last_stamp=grid.back(cap_ms, 1),
        provisional_from=first,
    )
    return due if up_to_now or due_before is None else min(due_before, due)


def _with_sides(grid: BarGrid, span: Span) -> Span:
    """Return ``span``, extended on both sides by the bars with which new bars are compared."""
    end = span.end
    try:
        start = grid.back(span.start, COMPARED)
    except BadRangeError:  # the calendar does not go back that far
        start = span.start
    step_ms = grid.timeframe.longest_ms
    return Span(min(start, span.start), max(end, end + 2 * COMPARED * step_ms))


def _older_faults(view: SeriesView, question: VendorQuestion, judged: Span) -> list[Fault]:
    """Return the stored faults that still stand after the bars in ``judged`` were checked again.

    Faults of missing bars are left out, because the new answer itself shows whether they exist.
    """
    if not question.missing_parts:
        return []
    faults = (fault.clip(judged) for fault in view.faults)
    return [f for f in faults if f is not None and f.is_of_bars]


def _kind(view: SeriesView, request: LaneRequest, candidate: Candidate, fetched: Fetched) -> Kind:
    """Return the kind of the series after this commit.

    The volume and feed are those of the lane's first vendor if it has supplied bars, or else those
    of the vendors that have supplied bars.
    """
    stored = view.kind
    if stored is None:
        return fetched.kind
    is_first = candidate.name == request.route.candidates[0].name
    kind, other = (fetched.kind, stored) if is_first else (stored, fetched.kind)
    return kind.filled_from(other)


def _provisional(
    coverage: Coverage, judged: ClassifiedAnswer, commit: Commit, grid: BarGrid
) -> list[int]:
    """Return the timestamps at which provisional spans begin once ``commit`` has been stored."""
    # Marks with their own expiry wait for that.
    marks = stretches(commit.marks)
    doubts = marks.where(lambda m: m.state in ("suspect", "final") or m.expires is not None)
    spans = [p.span for p in commit.pieces if p.state == "provisional"]
    spans += spans_of(marks.where(lambda mark: mark.state == "provisional"))
    answered = judged.spans
    for entry in coverage:
        if entry.state == "provisional" and entry.expires is None:
            spans += subtract([entry.span], touching(answered, entry.span))
    return [grid.next_open(span.start) for span in spans_of(difference(edges_of(spans), doubts))]


def _grid_of(request: LaneRequest, fetched: Fetched) -> BarGrid:
    """Return the grid of an answer's bars.

    If neither the lane nor the vendor declares an anchor for hourly bars, the grid that fits most
    rows is used.
    """
    if (
        request.route.kind.anchor
        or not request.grid.timeframe.is_intraday
        or not len(fetched.table)
    ):
        return request.grid
    if fetched.kind.anchor:
        return replace(request.grid, anchor=fetched.kind.anchor)
    grids = [replace(request.grid, anchor=anchor) for anchor in ("session", "clock")]
    return max(grids, key=lambda grid: int(grid.aligned(fetched.table.stamps).sum()))


def contradicted(
    stored: StoredRange, rows: BarTable, coverage: Coverage, vendor: str, now_ms: int
) -> list[Covered]:
    """Return coverage that marks all bars from older tools as suspect if a vendor contradicts them.

    Args:
        stored: Bars stored for the answered span.
        rows: Bars in the answer.
        coverage: Coverage of the whole series.
        vendor: Vendor that answered.
        now_ms: Current time; the bars are to be fetched again immediately.
    """
    older = [entry.span for entry in stored.coverage if is_older(entry)]
    older_rows = stored.rows.take(inside(stored.rows.stamps, older))
    common = among(older_rows.stamps, rows.stamps)
    if not common.any():
        return []
    vendor_rows = rows.take(among(rows.stamps, older_rows.stamps))
    ratios = vendor_rows.close / older_rows.take(common).close
    median = float(np.median(ratios))
    spread = float(np.median(np.abs(ratios - median)))
    if abs(median - 1) <= ONE_MARKET.median and spread <= ONE_MARKET.spread:
        return []
    reason = f"{DOUBTFUL}kept by another tool, and {vendor} says something else"
    return [
        Covered(
            entry.span,
            "suspect",
            entry.vendor,
            entry.kind,
            entry.basis,
            entry.fetched_at,
            reason,
            expires=now_ms,
        )
        for entry in coverage
        if is_older(entry)
    ]

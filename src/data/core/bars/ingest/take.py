"""Processes one vendor's answer: checks it, classifies it, and stores the good part."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from ....errors import CacheError, KindMismatchError, QualityError
from ...cache.faults import NOTE, Fault, faults_by_year
from ...cache.store import Commit
from ...cache.values import no_check
from ...calendars.calendar import first_unclosed
from ...calendars.finality import series_due
from ...calendars.grid import BarGrid
from ...model.identity.kind import Basis, Kind
from ...model.market.bars import BarTable, among, inside
from ...model.request.capabilities import Fetched
from ...model.stored.coverage import Covered, Stretches, stretches
from ...model.stored.lifetime import FIELD, Bound, Lifetime
from ...model.stored.reasons import DOUBTFUL
from ...model.time.edges import difference, edges_of, spans_of
from ...model.time.instant import DAY_MS, day_ms
from ...model.time.span import Span, subtract, touching
from ...model.time.timeframe import Timeframe
from ...net.calls.deadline import check_time
from ...prices.judgement.series import DailySessions
from ...prices.judgement.sessions import daily_sessions, proven
from ...prices.quality import check
from ...prices.splice import ONE_MARKET
from ...registry import is_free, row_of
from ..series import Forming, LaneRequest, SeriesStore
from ..sorted_answer import faults_of, sorted_answer
from ..validity import LONGEST_MS, beside_filled, is_older, split_marks, split_suspicion
from .commit import ahead_marks, basis_of, build_commit, disowned, without_overruled
from .compare import compare
from .draft import AnswerDraft
from .judge import judge
from .missing_reports import whole_answer
from .receive import CommonBasis, check_kind, fit, receive, sessions_around, with_splices

# Number of rows up to which an answer is stored so quickly that it is not discarded when the call's
# time is over.
_WORTH_STOPPING = 10_000


def process_answer(draft: AnswerDraft, series: SeriesStore) -> None:
    """Check a vendor's answer, and store the good part of it.

    The steps fill in the draft, and each uses the results of those before it:

    1. :func:`receive`: determine the requested span, the date of the answer, and the ex-dates that
       the answer reports on.
    2. :func:`fit`: compare the answer with adjacent bars from other vendors, using its own splits
       and dividends, which are not stored yet, and multiply its prices by a factor if the
       comparison shows one; then drop the rows that were requested only for the comparison, or
       between missing parts.
    3. :func:`_check`: check the rows, and sort them by finality. This follows step 2, which may
       multiply prices by a factor.
    4. :func:`_refuse_unusable`: reject an unusable answer if bars of its span are stored. This is
       before step 5, because nothing of a rejected answer is stored, not even its splits. If no
       bars are stored, the answer is stored although it is in doubt, with the splits and
       dividends that are needed to adjust its bars.
    5. :func:`_store_actions`: store splits and dividends. This is before step 6, which compares
       bars in the basis that they define.
    6. :func:`compare`: read the stored bars, once. All later steps use the view from this read,
       so the kind is checked again. Rows whose prices came back multiplied by a factor become
       bad rows; if there are many, the answer is rejected.
    7. :func:`judge`: find bars that are almost certainly wrong in comparison with neighbors and
       stored rows.
    8. :func:`_complete_commit`: build the commit. Its marks come from step 3 (holes, bad rows, and
       bars that have not settled), step 5 (bars near splits), step 6 (stored bars that came back
       equal or did not come back) and step 7 (verdicts); its faults are those of the remaining
       rows.
    9. Store the commit in the series, which keeps in memory anything that cannot be written to
       disk, unless the query requires storage.

    Args:
        draft: The answer as it was received.
        series: Store of the series.

    Raises:
        NoDataError: The answer has nothing for the missing spans.
        KindMismatchError: The answer differs in kind from the stored bars, or conflicts with them.
        QualityError: The answer is not trusted.
        ProviderTimeoutError: The caller's time limit expired while a long answer was being
            processed; none of its bars are stored.
        OvertakenError: Another host has committed to the series meanwhile, so the answer must be
            fitted to the new bars.
        CacheError: The query requires storage, and the answer cannot be stored.
    """
    is_long = len(draft.fetched.table) > _WORTH_STOPPING
    stop_if_late = partial(check_time, draft.vendor) if is_long else no_check
    receive(draft, series)
    fit(draft, series)
    _check(draft)
    stop_if_late()
    _refuse_unusable(draft, series)
    _store_actions(draft, series)
    compare(draft, series)
    draft.answer = judge(draft, _sessions(draft, series))
    stop_if_late()
    _complete_commit(draft, series)
    stop_if_late()
    series.commit(draft.commit, stop_if_late)
    draft.forming = _forming_bars(draft, draft.answer.forming)
    # Stored problems are read together with the bars.
    if any(unstored is draft.commit for unstored in series.unstored):
        draft.problems = (*draft.check.problems, *(note.text for note in _notes(draft)))


def take_forming(draft: AnswerDraft, series: SeriesStore) -> None:
    """Take the forming bar from an answer that was requested only for it; nothing is stored.

    Raises:
        KindMismatchError: The answer differs in kind from the stored bars, or conflicts with them.
        NoDataError: The answer has no bars in the span.
    """
    check_kind(series.view().kind, draft.request, draft.fetched)
    draft.sessions = sessions_around(draft.request, draft.fetched)
    fit(draft, series)
    _check_rows(draft)
    draft.forming = _forming_bars(draft, draft.check.good)


def _forming_bars(draft: AnswerDraft, rows: BarTable) -> Forming | None:
    """Return the answer's bars that have not closed and are never stored; None if all have closed."""
    if not len(rows):
        return None
    basis = _basis_from(draft, int(rows.stamps[0]))
    return Forming(rows, draft.vendor, basis, draft.fetched.kind)


def _basis_from(draft: AnswerDraft, first_ms: int) -> Basis:
    return basis_of(draft.fetched, first_ms, draft.request.query, draft.sessions.opened)


# --- 3 to 5: checking the rows, deciding whether to trust them, and their actions


def _check(draft: AnswerDraft) -> None:
    """Check the rows, and sort them by finality."""
    _check_rows(draft)
    checks = draft.request.checks
    # For downloaders that are not part of this library, it is unknown whether a missing bar is a
    # gap.
    is_unknown = not checks.check_gaps or draft.candidate.capabilities is None
    draft.answer = sorted_answer(
        draft.fetched,
        draft.check,
        draft.span,
        draft.grid,
        draft.local_ms,
        "unknown" if is_unknown else None,
        checks.min_quality_score,
        draft.question.missing_parts,
        is_own=is_free(draft.candidate.name),
    )


def _check_rows(draft: AnswerDraft) -> None:
    """Check the rows on the grid of the answer's bars."""
    fetched, instrument = draft.fetched, draft.request.query.instrument
    row = row_of(fetched.vendor)
    draft.grid = _grid_of(draft.request, fetched)
    is_share = instrument.asset_class == "stock" and instrument.timezone == "America/New_York"
    draft.check = check(
        fetched.table,
        draft.span,
        timeframe=draft.grid.timeframe,
        now_ms=draft.local_ms,
        grid=draft.grid,
        volume=fetched.kind.needs_volume(instrument.asset_class, row.no_volume),
        # A user's own files and classes say what their bars are.
        nights=is_share
        and bool(row.bars)
        and not row.of_files
        and draft.grid.timeframe.is_intraday,
    )


def _refuse_unusable(draft: AnswerDraft, series: SeriesStore) -> None:
    """Raise an error for an answer that is not usable, if bars for its span are already stored.

    Raises:
        QualityError: The answer is not usable; the message gives the reason.
    """
    if draft.answer.is_usable or not len(series.read(draft.question.span)[0]):
        return
    query = draft.request.query
    raise QualityError(
        f"{draft.vendor} is not trusted for {query}: {draft.answer.doubt}",
        provider=draft.vendor,
        symbol=query.instrument.symbol,
        hint="the stored bars were kept; validation.min_quality_score sets the threshold",
    )


def _store_actions(draft: AnswerDraft, series: SeriesStore) -> None:
    """Store the splits and dividends that came with bars, for the requested ex-dates."""
    ex_dates, caps, grid = draft.actions, draft.candidate.capabilities, draft.request.grid
    if ex_dates is None:
        return
    actions = [a for a in draft.fetched.actions or () if day_ms(a.ex_date) in ex_dates.span]
    if caps is not None and caps.actions_by_bar and not grid.timeframe.is_intraday:
        stamps = draft.sent.stamps
        rows = stamps[inside(stamps, [ex_dates.span])]
        first = int(rows.min()) if len(rows) else None
        reported = series.reported_ex_dates(ex_dates.span, first, grid.calendar)
        ex_dates = ex_dates._replace(span=reported)
    bars = draft.sent.take(np.argsort(draft.sent.stamps, kind="stable"))
    whole = whole_answer(draft.request, series, draft.candidate, actions, ex_dates, bars)
    series.add_actions(actions, ex_dates, whole)


# --- 7: bars that are almost certainly wrong


def _sessions(draft: AnswerDraft, series: SeriesStore) -> DailySessions | None:
    """Return the stored daily bars for an answer's intraday bars, in the same adjustment.

    The result is None if no daily bars are comparable. Daily bars of regular hours prove nothing
    about extended hours.
    """
    key, grid, stamps = draft.request.key, draft.request.grid, draft.answer.closed.stamps
    if not grid.timeframe.is_intraday or key.is_extended or not len(stamps):
        return None
    opened = draft.sessions.opened
    if opened is not None and draft.fetched.basis.adjustment not in ("raw", "split"):
        return None
    # A session may open on the UTC day before its date.
    span = Span(int(stamps[0]) - DAY_MS, int(stamps[-1]) + DAY_MS)
    basis = CommonBasis("split", opened, draft.book, intraday=False)
    try:
        days, coverage = series.other_series(key.days).read(span, is_use=False)
        days = days.take(inside(days.stamps, proven(coverage)))
        return daily_sessions(basis.of(days, coverage, surely=True), grid.calendar)
    except (CacheError, KindMismatchError):
        return None


# --- 8: the part that is stored


def _complete_commit(draft: AnswerDraft, series: SeriesStore) -> None:
    """Build the commit for a judged answer, and note the stored bars to fetch again immediately.

    1. Build the commit of the answer's own bars and gaps (:func:`.commit.build_commit`).
    2. Add marks for stored bars outside the answer that it makes suspect: bars fetched close to a
       split, bars from older tools that it contradicts, and bars with a basis in the future; and
       for holes beside a hole that it fills, which are due at once. These marks go before those of
       the commit, because later marks take precedence and those of the answer itself must.
    3. Add the facts about the series: comparisons with other vendors, when to fetch again, faults,
       kind and lifetime.
    """
    answer = draft.to_store = without_overruled(draft.answer, draft.vendor)
    first = int(answer.closed.stamps[0]) if len(answer.closed) else answer.answered.start
    draft.basis = _basis_from(draft, first)
    others: list[Covered] = []
    draft.suspicion, splits = draft.clock_suspicion, draft.book.splits
    coverage = draft.coverage.opened()
    if draft.fetched.basis.adjustment in ("split", "all"):
        others = split_marks(draft.coverage, draft.book)
        draft.suspicion = draft.suspicion or split_suspicion(
            splits, draft.fetched.adjusted_at_ms, draft.book.only(draft.vendor)
        )
    if doubt := disowned(draft):
        doubted = partial(replace, state="suspect", reason=doubt.reason, expires=doubt.expires_ms)
        others += [doubted(c) for c in coverage if c.state == "final" and c.vendor == draft.vendor]
        draft.suspicion = draft.suspicion if draft.request.query.refresh else doubt
    commit = build_commit(draft)
    # Trust in bars fetched earlier is withdrawn before this answer can be joined to them.
    others += contradicted(draft)
    others += beside_filled(coverage, answer.closed.stamps, draft.now_ms)
    others += ahead_marks(draft, coverage)
    outside = [
        replace(mark, span=span)
        for mark in others
        for span in subtract([mark.span], touching(answer.spans, mark.span))
    ]
    draft.due_now = tuple(mark.span for mark in outside if not mark.is_valid(draft.now_ms))
    marked = replace(commit, marks=Stretches.chained([outside, commit.marks]))
    judged = Span(answer.answered.start, max(answer.answered.end, draft.question.until_ms))
    is_whole = not (draft.due_now or answer.lacking or answer.holes or answer.requested)
    is_compared = not draft.view.rows or not draft.question.with_own_bars_before.is_empty
    kept = draft.stored.kept_stamps(answer.closed.stamps)
    listed = draft.fetched.listed_ms, draft.vendor, draft.grid.timeframe
    draft.commit = replace(
        with_splices(marked, draft.splices, draft.span),
        next_due=_due_ms(draft, marked),
        judged=judged,
        faults=(
            *faults_of(draft.check, answer, draft.grid, kept),
            *_notes(draft),
            *_older_faults(draft, judged),
        ),
        kind=_kind(draft),
        has_verdicts=True,
        is_last=draft.is_last and is_whole,
        compared_at=draft.local_ms if is_compared else None,
        lifetime=lifetime_since(*listed, draft.now_ms, series.lifetime()),
    )


def lifetime_since(
    listed_ms: int | None, vendor: str, timeframe: Timeframe, now: int, stored: Lifetime
) -> Lifetime:
    """Return a lifetime that begins on the listing date, if a vendor sent a new one; else empty.

    The lifetime begins at the start of that day. For weekly and monthly bars it begins earlier,
    because the first bar opens before the listing.
    """
    if listed_ms is None:
        return Lifetime()
    longest = 0 if timeframe.unit not in "wM" else timeframe.count * 31
    listed_ms = listed_ms // DAY_MS * DAY_MS - longest * DAY_MS
    listed = stored.listed
    if listed is not None and listed.at == listed_ms and now < listed.expires:
        return Lifetime()
    return Lifetime(Bound(listed_ms, vendor, now, now + LONGEST_MS, FIELD))


def _due_ms(draft: AnswerDraft, commit: Commit) -> int | None:
    """Return the time from which refetching could change the answer; None to keep the old time.

    All provisional bars of the series are considered. A bar that an earlier request left
    provisional must not count as settled just because a later request reached up to now.
    """
    answer, grid, now = draft.to_store, draft.request.grid, draft.now_ms
    cap_ms = first_unclosed(grid.calendar, grid.timeframe, now, grid.anchor)
    due_before = draft.view.next_due
    # An answer by a vendor whose clock is behind ours may contain nothing that is stored. Then the
    # time would be counted from the end of older bars.
    ends = [entry.span.end for entry in (*draft.coverage[-1:], *commit.pieces)]
    ends += stretches(commit.marks).columns.ends.tolist()
    end = min(answer.answered.end, max(ends, default=0))
    # After the last closed bar there may be hours in which the market is closed.
    up_to_now = (end >= cap_ms or grid.next_open(end) >= cap_ms) and answer.unpublished is None
    if not up_to_now and due_before is None:
        return None
    due = series_due(
        grid,
        now_ms=now,
        settle_ms=draft.fetched.settle_ms,
        # This is the last bar that could have been received, not the last that was, because a bar
        # without trades does not mean a delay.
        last_stamp=grid.back(cap_ms, 1),
        provisional_from=min(_provisional(draft, commit), default=None),
    )
    return due if up_to_now or due_before is None else min(due_before, due)


def _notes(draft: AnswerDraft) -> list[Fault]:
    """Return the note about the answer's bars, if there is one, for each year with bars."""
    stamps, answered = draft.to_store.closed.stamps, draft.to_store.answered
    return [*faults_by_year(NOTE, stamps, answered, draft.note)] if draft.note else []


def _older_faults(draft: AnswerDraft, judged: Span) -> list[Fault]:
    """Return the stored faults that still stand after the bars in ``judged`` were checked again.

    Faults of missing bars are left out, because the new answer itself shows whether they exist.
    """
    if not draft.question.missing_parts:
        return []
    faults = (fault.clip(judged) for fault in draft.view.faults)
    return [f for f in faults if f is not None and f.is_of_bars]


def _kind(draft: AnswerDraft) -> Kind:
    """Return the kind of the series after this commit.

    The volume and feed are those of the lane's first vendor if it has supplied bars, or else those
    of the vendors that have supplied bars.
    """
    sent, stored = draft.fetched.kind, draft.view.kind
    if stored is None:
        return sent
    is_first = draft.candidate.name == draft.request.route.candidates[0].name
    return sent.filled_from(stored) if is_first else stored.filled_from(sent)


def _provisional(draft: AnswerDraft, commit: Commit) -> list[int]:
    """Return the timestamps at which provisional spans begin once ``commit`` has been stored."""
    # Marks with their own expiry wait for that.
    marks = stretches(commit.marks)
    decided = marks.where(lambda m: m.state in ("suspect", "final") or m.expires is not None)
    spans = [p.span for p in commit.pieces if p.state == "provisional"]
    spans += spans_of(marks.where(lambda mark: mark.state == "provisional"))
    answered = draft.to_store.spans
    for entry in draft.coverage:
        if entry.state == "provisional" and entry.expires is None:
            spans += subtract([entry.span], touching(answered, entry.span))
    next_open = draft.request.grid.next_open
    return [next_open(span.start) for span in spans_of(difference(edges_of(spans), decided))]


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


def contradicted(draft: AnswerDraft) -> list[Covered]:
    """Return coverage that marks all bars from older tools as suspect if this answer contradicts them.

    They are to be fetched again immediately.
    """
    older = [entry.span for entry in draft.stored.coverage if is_older(entry)]
    if draft.fetched.basis.adjustment == "unknown" or not older:
        return []
    rows, older_rows = draft.to_store.closed, draft.stored.rows
    older_rows = older_rows.take(inside(older_rows.stamps, older))
    common = among(older_rows.stamps, rows.stamps)
    if not common.any():
        return []
    vendor_rows = rows.take(among(rows.stamps, older_rows.stamps))
    ratios = vendor_rows.close / older_rows.take(common).close
    median = float(np.median(ratios))
    spread = float(np.median(np.abs(ratios - median)))
    if abs(median - 1) <= ONE_MARKET.median and spread <= ONE_MARKET.spread:
        return []
    reason = f"{DOUBTFUL}stored by another tool, and the bars of {draft.vendor} differ"
    return [
        Covered(
            entry.span,
            "suspect",
            entry.vendor,
            entry.kind,
            entry.basis,
            entry.fetched_at,
            reason,
            expires=draft.local_ms,
        )
        for entry in draft.coverage
        if is_older(entry)
    ]

"""Take one vendor's answer: check it, decide what it is, store what is good of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

import numpy as np

from ...cache.actions import Asked
from ...cache.store import Commit, SeriesView
from ...cache.values import Fault, removal
from ...calendars.calendar import first_unclosed
from ...calendars.due import next_due
from ...calendars.grid import BarGrid
from ...errors import BadRangeError, KindMismatchError, QualityError
from ...model.bars import BarTable, among, inside
from ...model.capabilities import Fetched
from ...model.coverage import Coverage, Covered
from ...model.instant import DAY_MS, date_of, day_ms
from ...model.kind import Basis, Kind
from ...model.lifetime import FIELD, Bound, Lifetime
from ...model.rules import ValidationRules
from ...model.span import Span, intersect, subtract
from ...prices.adjustment import BasisPart, rebase
from ...prices.judgement.series import CheckedSeries, ShareEvent
from ...prices.quality import check
from ...prices.splice import COMPARED, ONE_MARKET
from ...vendors.registry import is_of_files
from ..fetch.revisions import FetchWindow, Revisions
from ..fetch.splice import NeighbourReply, Side, Splicer, with_splices
from ..fetch.state import FetchState, Forming, StoreWriter
from ..selection.candidates import Candidate
from ..validity import (
    BEHIND,
    CHANGED,
    DOUBTFUL,
    RELAID,
    SKEW_MS,
    Expiry,
    Suspicion,
    doubt_at,
    doubted,
    first_session,
    is_older,
    latest_known,
    split_windows,
)
from .commit import (
    RESCALED,
    CommitContext,
    StoredRange,
    are_many,
    basis_of,
    beside_doubted,
    build_commit,
    without_rescaled,
)
from .judge import JudgementContext, judge
from .sorted_answer import ClassifiedAnswer, Density, faults_of, sorted_answer

# Two answers of one vendor in one basis: single precision is good to 6e-8. Rebased: rounding of
# an adjustment adds to it. What has no corporate actions is compared to the last bit.
_AS_SENT, _REBASED = 1e-7, 1e-6
_NEAR = timedelta(days=14)


class _Sessions(NamedTuple):
    """Stamps of the last session that had opened at an answer, and of the next one to open."""

    opened: int | None
    coming: int


class AnswerIngester:
    """Checks answers and commits them. Thread-safe: it keeps no state."""

    def __init__(
        self,
        writer: StoreWriter,
        expiry: Expiry,
        checks: ValidationRules,
    ) -> None:
        self._writer = writer
        self._expiry = expiry
        self._checks = checks
        self._splicer = Splicer(writer)
        self._revisions = Revisions(writer, expiry)

    def take(
        self, work: FetchState, candidate: Candidate, fetched: Fetched, window: FetchWindow
    ) -> ClassifiedAnswer:
        """Check a candidate's answer, store what is good of it, and say what it was.

        Args:
            work: the request.
            candidate: the vendor that answered.
            fetched: the answer.
            window: what it was asked for.

        Raises:
            NoDataError: it holds nothing of what is lacking.
            KindMismatchError: it is of another kind than what is stored, or does not fit beside it.
            QualityError: it is not believed.
        """
        window.check(work, fetched)
        behind = self._clock_is_behind(work, fetched)
        if behind is not None:
            fetched = replace(fetched, basis=Basis("unknown"))
        window = self._revisions.believed(work, window, fetched)
        near, span = self._sessions(work, fetched), window.stored
        asked_actions = _ex_dates(work, candidate, fetched, span, near)
        reply = NeighbourReply(fetched, span, window.sides, near.opened, asked_actions)
        fetched, splices = self._splicer.fitted(work, reply)
        if window.parts:
            wanted = fetched.table.take(inside(fetched.table.stamps, window.parts))
            fetched = replace(fetched, table=wanted)
        now = self._writer.now_ms(work)
        grid, asset_class = grid_of(work, fetched), work.query.instrument.asset_class
        checked = check(
            fetched.table,
            span,
            timeframe=grid.timeframe,
            now_ms=now,
            grid=grid,
            volume=fetched.kind.needs_volume(asset_class, fetched.vendor),
        )
        density = self._density(candidate, fetched)
        least = self._checks.min_quality_score
        answer = sorted_answer(fetched, checked, span, grid, now, density, least, window.parts)
        self._refuse_unbelieved(work, fetched, window, answer)
        if asked_actions is not None:
            self._note_actions(work, candidate, fetched, asked_actions)
        stored, beside = self._stored(work, fetched, answer, near)
        # The answer is stored beside what stands there now: another writer may have come meanwhile.
        view = self._writer.view(work)
        check_kind(view.kind, work, fetched)
        self.note_forming(work, fetched, answer.forming)
        splits = work.query.instrument.asset_class != "stock"
        plain = without_rescaled(answer, stored, fetched.vendor, splits=splits)
        self._refuse_rescaled(work, fetched, plain)
        answer = beside_doubted(plain, stored, fetched.vendor)
        answer = self._judged(work, fetched, answer, near, stored, beside)
        commit = self._commit(work, fetched, answer, near, stored, behind)
        commit = with_splices(commit, splices, span)
        judged = Span(answer.answered.start, max(answer.answered.end, window.until))
        commit = replace(
            commit,
            judged=judged,
            faults=(
                *faults_of(checked, answer, grid, stored.stays(answer.closed.stamps)),
                *_older_faults(view, window, judged),
            ),
            kind=_kind(view, work, candidate, fetched),
            has_verdicts=True,
            compared_at=self._revisions.compared_at(work, window),
            lifetime=self._lifetime(work, fetched),
        )
        self._writer.commit(work, commit)
        work.fetched += intersect(answer.spans, [window.span])
        if any(one is commit for one in work.unstored):  # else they are read with the bars
            work.problems += (p for p in checked.problems if p not in work.problems)
        work.scores.append(checked.score)
        return answer

    def drop_outdated(self, work: FetchState, fetched: Fetched) -> bool:
        """Remove all that was read of files as they were, now that they could be read as they are.

        The files are the truth: a row that is not in them any more is no bar that their vendor lacks.
        Bars of others stay, and are asked for again, but by another layout they may not belong beside
        these any more. Older versions of the series keep what went.

        Returns:
            Whether there were any.
        """
        if not work.key.of_folder or not is_of_files(fetched.vendor):
            return False
        parts = [part for part in self._writer.coverage(work).opened() if part.state != "empty"]
        outdated = [
            p
            for p in parts
            if p.reason == RELAID or (p.reason == CHANGED and is_of_files(p.vendor))
        ]
        if not outdated:
            return False
        now, is_whole = self._writer.now_ms(work), len(outdated) == len(parts)
        pieces = tuple(removal(part, now) for part in outdated)
        kind = fetched.kind if is_whole else None
        self._writer.commit(work, Commit(pieces, kind=kind))
        return True

    def _clock_is_behind(self, work: FetchState, fetched: Fetched) -> Suspicion | None:
        """Return why it is not known as of when prices are adjusted; None where it is.

        The vendor told no time, and our clock shows one that is over by what is stored: a split since
        then may be in these prices or not. They are asked again at the time of what is stored.
        """
        is_adjusted = fetched.basis.adjustment in ("split", "all")
        if fetched.dated or not is_adjusted or work.query.instrument.asset_class != "stock":
            return None
        latest = latest_known(self._writer.coverage(work), self._writer.book(work))
        return Suspicion(BEHIND, latest) if latest > self._now_ms(work, fetched) + SKEW_MS else None

    def _now_ms(self, work: FetchState, fetched: Fetched) -> int:
        """Return the time at an answer: by our clock or the vendor's, whichever is earlier."""
        return min(self._writer.now_ms(work), fetched.server_now_ms)

    def _refuse_rescaled(
        self, work: FetchState, fetched: Fetched, answer: ClassifiedAnswer
    ) -> None:
        """Raise where many final bars came multiplied; a few are bad rows, and told as these.

        Raises:
            QualityError: many of them did.
        """
        odd = sum(row.reason == RESCALED for row in answer.bad)
        if odd and are_many(odd, odd + len(answer.closed)):
            raise QualityError(
                f"{fetched.vendor} sends {odd} final bars again, multiplied by a constant factor: "
                f"it has changed its basis for {work.query}, and does not say so",
                provider=fetched.vendor,
                hint="the stored bars were kept; clear the series if it is they that are wrong",
            )

    def _refuse_unbelieved(
        self, work: FetchState, fetched: Fetched, window: FetchWindow, answer: ClassifiedAnswer
    ) -> None:
        """Raise where bars are stored already in place of those that are not believed.

        Raises:
            QualityError: with why they are not.
        """
        if answer.is_believed or not len(self._writer.read(work, window.span)[0]):
            return
        raise QualityError(
            f"{fetched.vendor} is not believed for {work.query}: {answer.doubt}",
            provider=fetched.vendor,
            symbol=work.query.instrument.symbol,
            hint="the stored bars were kept; validation.min_quality_score sets the limit",
        )

    def _lifetime(self, work: FetchState, fetched: Fetched) -> Lifetime | None:
        """Return the listing as the vendor tells it, where that is news.

        From the start of that day on: where the venue's date is another one, it is a day earlier.
        """
        if fetched.listed_ms is None:
            return None
        longest = 0 if work.grid.timeframe.unit not in "wM" else work.grid.timeframe.count * 31
        at = fetched.listed_ms // DAY_MS * DAY_MS - longest * DAY_MS
        now, listed = self._now_ms(work, fetched), self._writer.lifetime(work).listed
        if listed is not None and listed.at == at and now < listed.expires:
            return None
        return Lifetime(Bound(at, fetched.vendor, now, now + self._expiry.old_ms, FIELD))

    def note_forming(self, work: FetchState, fetched: Fetched, rows: BarTable) -> None:
        """Keep bars that have not closed for this answer alone."""
        if len(rows):
            opened = self._sessions(work, fetched).opened
            basis = basis_of(fetched, int(rows.stamps[0]), work.query.instrument, opened)
            work.forming = Forming(rows, fetched.vendor, basis, fetched.kind)

    def fitted(
        self, work: FetchState, fetched: Fetched, span: Span, sides: Sequence[Side]
    ) -> Fetched:
        """Return what an answer says of ``span`` alone; nothing is stored.

        Raises:
            KindMismatchError: it is of another kind than what is stored, or does not fit beside it.
            NoDataError: it holds nothing of ``span``.
        """
        check_kind(self._writer.view(work).kind, work, fetched)
        near = self._sessions(work, fetched)
        return self._splicer.fitted(work, NeighbourReply(fetched, span, sides, near.opened)).fetched

    def _density(self, candidate: Candidate, fetched: Fetched) -> Density:
        """Tell whether a bar that did not come is a hole; of downloaders that are not ours that is open."""
        if not self._checks.check_gaps or candidate.capabilities is None:
            return "unknown"
        return "dense" if fetched.dense else "sparse"

    def _commit(
        self,
        work: FetchState,
        fetched: Fetched,
        answer: ClassifiedAnswer,
        near: _Sessions,
        stored: StoredRange,
        behind: Suspicion | None,
    ) -> Commit:
        first = int(answer.closed.stamps[0]) if len(answer.closed) else answer.answered.start
        basis = basis_of(fetched, first, work.query.instrument, near.opened)
        others, doubt = self._split_doubts(work, fetched)
        now, refresh = self._now_ms(work, fetched), work.query.refresh
        doubt, lacking = behind or doubt, work.lacking
        ends = [self._writer.view(work).last, *answer.closed.stamps[-1:].tolist()]
        last = max((end for end in ends if end is not None), default=None)
        terms = CommitContext(work.grid, basis, now, self._expiry, doubt, refresh, lacking, last)
        others += self._older_marks(work, fetched, answer, stored)
        commit = build_commit(fetched, answer, stored, terms)
        # Bars fetched earlier lose their trust before this answer can be joined to them.
        outside = [
            replace(mark, span=part)
            for mark in others
            for part in subtract([mark.span], answer.spans)
        ]
        work.overdue += [mark.span for mark in outside if not mark.stands(terms.now_ms)]
        commit = replace(commit, marks=(*outside, *commit.marks))
        return self._with_due(work, fetched, answer, commit)

    def _split_doubts(
        self, work: FetchState, fetched: Fetched
    ) -> tuple[list[Covered], Suspicion | None]:
        """Return the stored bars that a split nearby makes doubtful, and the doubt of the new."""
        splits = self._writer.book(work).splits
        if not splits or fetched.basis.adjustment not in ("split", "all"):
            return [], None
        coverage = self._writer.coverage(work).opened()
        times = [fetched.adjusted_at_ms, *(part.fetched_at for part in coverage)]
        near = split_windows(splits, work.grid.calendar, times)
        return doubted(coverage, near), doubt_at(near, fetched.adjusted_at_ms)

    def _older_marks(
        self,
        work: FetchState,
        fetched: Fetched,
        answer: ClassifiedAnswer,
        stored: StoredRange,
    ) -> list[Covered]:
        """Return what takes the trust from bars of older tools that this answer contradicts."""
        if fetched.basis.adjustment == "unknown" or not any(map(is_older, stored.coverage)):
            return []
        coverage, now = self._writer.coverage(work), self._writer.now_ms(work)
        return contradicted(stored, answer.closed, coverage, fetched.vendor, now)

    def _stored(
        self, work: FetchState, fetched: Fetched, answer: ClassifiedAnswer, near: _Sessions
    ) -> tuple[StoredRange, StoredRange]:
        """Read what is stored of the answered stretch, as it is and in the answer's basis.

        The second value is that with a few bars on either side, beside which what is new is judged. Of
        those there are none where a split between two fetches may not be known yet.
        """
        answered = answer.answered
        all_rows, all_coverage = self._writer.read(work, _with_sides(work.grid, answered))
        rows, coverage = all_rows.within(answered), all_coverage.within(answered)
        if answer.parts:
            rows = rows.take(inside(rows.stamps, answer.parts))
            coverage = Coverage(c for span in answer.spans for c in coverage.within(span))
        if near.opened is None:
            return StoredRange(rows, rows, coverage), StoredRange(all_rows, all_rows, all_coverage)
        if fetched.basis.adjustment == "unknown":
            none = BarTable.empty()
            return StoredRange(rows, rows, coverage, _AS_SENT), StoredRange(none, none, Coverage())
        basis = self._splicer.basis(work, fetched, near.opened)

        def rebased(table: BarTable, *, surely: bool = False) -> BarTable:
            """Return bars in the answer's basis; none where they cannot be compared."""
            try:
                return basis.of(table, all_coverage, surely=surely)
            except KindMismatchError:
                # Bars of unknown basis are not comparable: the new answer replaces them.
                return BarTable.empty()

        own = rebased(rows) if len(rows) else rows
        tolerance = _AS_SENT if own is rows else _REBASED
        beside = StoredRange(all_rows, rebased(all_rows, surely=True), all_coverage)
        return StoredRange(rows, own, coverage, tolerance), beside

    def _judged(
        self,
        work: FetchState,
        fetched: Fetched,
        answer: ClassifiedAnswer,
        near: _Sessions,
        stored: StoredRange,
        beside: StoredRange,
    ) -> ClassifiedAnswer:
        """Return the answer with the verdicts on its bars."""
        instrument, timeframe = work.query.instrument, work.grid.timeframe
        adjustment = fetched.basis.adjustment
        is_share = instrument.asset_class == "stock"
        actions = [a for a in self._writer.book(work).splits if a.is_sound] if is_share else []

        def series_of(table: BarTable) -> CheckedSeries:
            """Return bars with the splits that are known, adjusted for these."""
            splits: tuple[ShareEvent, ...] | None = None
            if is_share and adjustment != "unknown":
                splits = tuple(
                    ShareEvent(
                        one.ex_at if timeframe.is_intraday else day_ms(one.ex_date),
                        float(one.ratio),
                    )
                    for one in actions
                )
                if splits and adjustment == "raw" and len(table):
                    whole = Span(int(table.stamps[0]), int(table.stamps[-1]) + 1)
                    table = rebase(
                        table,
                        [BasisPart(whole, Basis("raw"))],
                        actions,
                        "split",
                        as_of=None if near.opened is None else date_of(near.opened),
                        intraday=timeframe.is_intraday,
                    )
            units_vary = is_share and instrument.quote is None
            return CheckedSeries(
                timeframe, table, instrument.asset_class, splits, units_vary=units_vary
            )

        context = JudgementContext(
            fetched.vendor,
            fetched.kind,
            Basis(adjustment),
            work.grid,
            self._writer.now_ms(work),
            beside,
            self._writer.coverage(work),
            series_of,
        )
        return judge(answer, stored, context)

    def _note_actions(
        self, work: FetchState, candidate: Candidate, fetched: Fetched, answer: Asked
    ) -> None:
        """Store the splits and dividends that came with bars, of the ex-dates that were asked for."""
        actions = [a for a in fetched.actions or () if day_ms(a.ex_date) in answer.span]
        caps = candidate.capabilities
        if caps is not None and caps.actions_by_bar and not work.grid.timeframe.is_intraday:
            rows = fetched.table.stamps[inside(fetched.table.stamps, [answer.span])]
            first = int(rows.min()) if len(rows) else None
            answer = answer._replace(span=self._writer.behind_a_cut(work, answer.span, first))
        self._writer.add_actions(work, actions, answer)

    def _sessions(self, work: FetchState, fetched: Fetched) -> _Sessions:
        """Return the sessions around an answer; instruments without actions need none."""
        at = fetched.adjusted_at_ms
        if work.query.instrument.asset_class != "stock":
            return _Sessions(None, at)
        today = date_of(at)
        around = work.grid.calendar.sessions(today - _NEAR, today + _NEAR)
        opened = [day_ms(s.day) for s in around if s.open_ms <= at]
        coming = [day_ms(s.day) for s in around if s.open_ms > at]
        return _Sessions(
            opened[-1] if opened else None, coming[0] if coming else day_ms(today) + DAY_MS
        )

    def _with_due(
        self,
        work: FetchState,
        fetched: Fetched,
        answer: ClassifiedAnswer,
        commit: Commit,
    ) -> Commit:
        """Add when asking again could change the answer.

        Provisional bars count wherever they stand: one left behind by an earlier request must not
        be taken for settled because a later one reached up to now.
        """
        grid = work.grid
        now = self._now_ms(work, fetched)
        cap = first_unclosed(grid.calendar, grid.timeframe, now, grid.anchor)
        due_before = self._writer.view(work).next_due
        # Behind the last bar that has closed there may be hours in which the market is shut.
        reaches = answer.answered.end >= cap or grid.next_open(answer.answered.end) >= cap
        up_to_now = reaches and answer.unpublished is None
        if not up_to_now and due_before is None:
            return commit
        parts = self._writer.coverage(work)
        first = min(_provisional(parts, answer, commit, grid), default=None)
        due = next_due(
            grid.calendar,
            grid.timeframe,
            now_ms=now,
            settle_ms=fetched.settle_ms,
            # The last bar that could have come, not the last that did: one without trades is no
            # delay.
            last_stamp=grid.back(cap, 1),
            provisional_from=first,
            anchor=grid.anchor,
        )
        return replace(
            commit, next_due=due if up_to_now or due_before is None else min(due_before, due)
        )


def _with_sides(grid: BarGrid, span: Span) -> Span:
    """Return a span with the bars on either side that new ones are judged beside."""
    end = span.end
    try:
        start = grid.back(span.start, COMPARED)
    except BadRangeError:  # no calendar reaches so far back
        start = span.start
    step = grid.timeframe.longest_ms
    return Span(min(start, span.start), max(end, end + 2 * COMPARED * step))


def _older_faults(view: SeriesView, window: FetchWindow, judged: Span) -> list[Fault]:
    """Return the faults of stored bars of which an answer says nothing that is about others.

    What had been lacking it tells anew.
    """
    if not window.parts:
        return []
    faults = (fault.clip(judged) for fault in view.faults)
    return [f for f in faults if f is not None and f.is_of_bars]


def _kind(view: SeriesView, work: FetchState, candidate: Candidate, fetched: Fetched) -> Kind:
    """Return the kind of the series from now on.

    Volume and feed are those of the lane's first vendor as soon as it has supplied something,
    and until then of the vendors that did.
    """
    stored = view.kind
    if stored is None:
        return fetched.kind
    is_first = candidate.name == work.lane.candidates[0].name
    one, other = (fetched.kind, stored) if is_first else (stored, fetched.kind)
    return one.filled_from(other)


def _provisional(
    coverage: Coverage, answer: ClassifiedAnswer, commit: Commit, grid: BarGrid
) -> list[int]:
    """Return where provisional bars begin once ``commit`` is stored."""
    # What has an expiry of its own waits for that.
    doubts = [
        mark.span
        for mark in commit.marks
        if mark.state in ("suspect", "final") or mark.expires is not None
    ]
    spans = [p.span for p in commit.pieces if p.state == "provisional"]
    spans += [m.span for m in commit.marks if m.state == "provisional"]
    for part in coverage:
        if part.state == "provisional" and part.expires is None:
            spans += subtract([part.span], answer.spans)
    begins = (left.start for span in spans for left in subtract([span], doubts))
    return [grid.next_open(begin) for begin in begins]


def check_kind(kind: Kind | None, work: FetchState, fetched: Fetched) -> None:
    """Refuse bars of another kind than those stored.

    Raises:
        KindMismatchError: with the attributes that differ.
    """
    if kind is None or kind.agrees(fetched.kind):
        return
    pairs = kind.differences(fetched.kind).items()
    text = ", ".join(f"{name} {theirs!r} (stored {mine!r})" for name, (mine, theirs) in pairs)
    raise KindMismatchError(
        f"{fetched.vendor} answered bars of another kind for {work.query}: {text}",
        provider=fetched.vendor,
        symbol=work.query.instrument.symbol,
    )


def grid_of(work: FetchState, fetched: Fetched) -> BarGrid:
    """Return where the bars of an answer can stand.

    Where neither the lane nor the vendor tells from where hours are counted, that is the way that
    fits most of the rows.
    """
    if work.lane.kind.anchor or not work.grid.timeframe.is_intraday or not len(fetched.table):
        return work.grid
    if fetched.kind.anchor:
        return replace(work.grid, anchor=fetched.kind.anchor)
    ways = [replace(work.grid, anchor=anchor) for anchor in ("session", "clock")]
    return max(ways, key=lambda grid: int(grid.aligned(fetched.table.stamps).sum()))


def _ex_dates(
    work: FetchState, candidate: Candidate, fetched: Fetched, span: Span, near: _Sessions
) -> Asked | None:
    """Return which ex-dates an answer tells the splits and dividends of, if it tells any.

    A declaration is not enough: an answer that says nothing about them has not told that there are
    none. Of a session that has not opened nothing is known yet, and bars of minutes come with what
    happens at an open only where that open is among them.
    """
    caps = candidate.capabilities
    if caps is None or not caps.actions or fetched.actions is None:
        return None
    if work.query.instrument.asset_class != "stock":
        return None
    days = Span(day_ms(date_of(span.start)), day_ms(date_of(span.end - 1)) + DAY_MS)
    if work.grid.timeframe.is_intraday:
        around = work.grid.calendar.sessions(date_of(days.start), date_of(days.end))
        before = [day_ms(s.day) + DAY_MS for s in around if s.open_ms < span.start]
        after = [day_ms(s.day) for s in around if s.open_ms >= span.end]
        days = Span(max([days.start, *before]), min([days.end, *after]))
    # No ex-date lies between the last session that has opened and the next one.
    is_latest = near.opened is not None and days.end > near.opened
    days = Span(days.start, max(days.start, near.coming if is_latest else days.end))
    if days.is_empty:
        return None
    until = None
    if caps.actions_by_bar and near.opened is not None:
        sent = fetched.table.stamps[inside(fetched.table.stamps, [days])]
        behind = int(sent.max(initial=days.start - DAY_MS)) + DAY_MS
        last = min(near.opened, days.end - DAY_MS)
        until = first_session(work.grid.calendar, behind, date_of(last))
    return Asked(days, fetched.vendor, fetched.server_now_ms, until)


def contradicted(
    stored: StoredRange, rows: BarTable, coverage: Coverage, vendor: str, now_ms: int
) -> list[Covered]:
    """Return marks that take all trust from older bars where a vendor says something else.

    Args:
        stored: what is stored of the stretch answered.
        rows: the bars answered.
        coverage: of the whole series.
        vendor: the one that answered.
        now_ms: from when they are to be asked again: at once.
    """
    older = [part.span for part in stored.coverage if is_older(part)]
    mine = stored.rows.take(inside(stored.rows.stamps, older))
    common = among(mine.stamps, rows.stamps)
    if not common.any():
        return []
    theirs = rows.take(among(rows.stamps, mine.stamps))
    ratios = theirs.close / mine.take(common).close
    median = float(np.median(ratios))
    spread = float(np.median(np.abs(ratios - median)))
    if abs(median - 1) <= ONE_MARKET.median and spread <= ONE_MARKET.spread:
        return []
    reason = f"{DOUBTFUL}kept by another tool, and {vendor} says something else"
    return [
        Covered(
            part.span,
            "suspect",
            part.vendor,
            part.kind,
            part.basis,
            part.fetched_at,
            reason,
            expires=now_ms,
        )
        for part in coverage
        if is_older(part)
    ]

"""Answer a query from one lane: fetch what the plan says, read the whole."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from ...cache.store import BarStore, Commit
from ...calendars.gaps import missing
from ...calendars.grid import BarGrid
from ...clock import Clock
from ...errors import BadRangeError
from ...model.coverage import Coverage, Covered
from ...model.instant import MINUTE_MS, iso
from ...model.kind import Kind
from ...model.query import BarsQuery
from ...model.rules import ValidationRules
from ...model.span import Span, coalesce, intersect, subtract
from ..answer.adjust import ActionsMissingError
from ..answer.answer import Answer, Gap, Unfilled, as_known, joined, not_asked
from ..answer.counts import LOOKBACKS, closed_rows, counted
from ..answer.reader import Outcome, Reader
from ..answer.slots import may_open
from ..selection.source_check import SourceCheck
from ..turns import Turns
from ..validity import CLOSED, DELETED, UNASKED, UNPUBLISHED, Expiry, is_older
from .absence import ListingProof
from .actions import TOLD_LATE_MS, ActionFetcher
from .fetcher import Fetcher
from .plan import FetchPlan, Planner
from .state import FetchState, StoreWriter

log = logging.getLogger("onetape.routing")

# So often is asked again for what was deleted between its fetch and its reading.
_MOST_LOSSES = 3


class LaneRunner:
    """Answers queries from one lane at a time. Thread-safe: it keeps no state of its own.

    Attributes:
        reader: reads the answers.
        clock: the time.
        on_todo: called with every plan before anything of it is done.
    """

    def __init__(
        self,
        store: BarStore,
        clock: Clock,
        reader: Reader,
        expiry: Expiry,
        checks: ValidationRules,
        turns: Turns,
        sources: SourceCheck,
    ) -> None:
        self._store = store
        self.reader, self.clock = reader, clock
        self._expiry = expiry
        self._turns = turns
        self._writer = StoreWriter(store, clock)
        self._action_fetcher = ActionFetcher(self._writer, clock)
        self._planner = Planner(store, self._writer, sources)
        self._fetcher = Fetcher(self._writer, clock, expiry, checks)
        self._listing = ListingProof(self._writer, expiry)
        self.on_todo: Callable[[FetchState, FetchPlan], None] = lambda work, plan: None

    def answer(self, query: BarsQuery, work: FetchState) -> Answer:
        """Fill what is missing of the wanted span; a count of bars may reach further back.

        Raises:
            KindMismatchError: the lane's bars cannot be brought to the asked basis.
            StorageError: something else is in the place of a file of a year that is wanted.
        """
        wanted = self._planner.wanted(query, work, 1)
        answer = self._filled(query, wanted, work)
        if query.bars is None:
            return answer
        for tries in range(1, LOOKBACKS):
            # What is stored further back costs no request.
            is_cut_off = work.unfilled and not len(answer.table) and not query.offline
            if closed_rows(answer) >= query.bars or is_cut_off:
                break
            try:
                wanted = self._planner.wanted(query, work, 2**tries)
            except BadRangeError:  # calendars do not reach so far back: these are all there are
                break
            answer = self._filled(query, wanted, work)
        return counted(answer, query.bars, wanted.start)

    def _filled(self, query: BarsQuery, wanted: Span, work: FetchState) -> Answer:
        self._store.listener.used(work.key, wanted)
        work.end_phase()  # other callers may have been waited for
        self._store.check(self._writer.view(work), wanted)
        plan = self._planner.todo(query, wanted, work)
        self.on_todo(work, plan)
        before = plan.stored
        plan = self._done(query, plan, work)
        answer = as_known(self._read(query, wanted, work, plan.cap))
        for _ in range(_MOST_LOSSES):
            if not (lost := self._lost(before, plan, work)):
                break
            now = self._writer.view(work).generation
            plan_of_lost = replace(plan, segments=tuple(lost), closed=(), generation=now)
            self._done(query, plan_of_lost, work)
            answer = as_known(self._read(query, wanted, work, plan.cap))
        doubts = [*answer.doubts, *_unrefreshed(query, work)]
        if work.outdated:
            doubts.append(work.outdated)
        # What was not asked, or no answer spoke of, is told whether that is written down or not.
        known = [*answer.coverage.standing(query.now_ms), *(part.span for part in work.unfilled)]
        begun = Span(wanted.start, min(wanted.end, plan.cap, query.now_ms + 1))
        unasked = missing(begun, known, (), work.grid).closed
        if len(answer.table) or not self._is_ahead(wanted, work):
            # What a hit by comparison does not see is not told once, either.
            unasked = [span for span in unasked if not self._is_ahead(span, work)]
        gaps = _deleted(answer.gaps, self._lost(before, plan, work))
        lacking = sorted([*gaps, *map(not_asked, unasked)], key=lambda gap: gap.span)
        gaps = real_gaps(joined(lacking), plan.cap, work.grid, work.lane.kind)
        if not (gaps or len(answer.table) or query.offline):
            # No bar is expected, but the one question whether there is any was not answered.
            gaps = [Gap(part.span, part.reason, failed=part.failed) for part in work.unfilled]
        return replace(answer, gaps=gaps, doubts=doubts)

    def _lost(self, before: Coverage, plan: FetchPlan, work: FetchState) -> list[Span]:
        """Return what was stored when it was planned, or by this request, and was not when it was read.

        A repair could not keep it, or another caller has deleted it.
        """
        reach = Span(plan.wanted.start, min(plan.wanted.end, plan.cap))
        stored = [part.span for part in self._writer.coverage(work)]
        spans = [part.span for part in before.within(reach) if part.state != "empty"]
        spans += intersect(work.stored, [reach])
        return subtract(spans, [*stored, *(part.span for part in work.unfilled)])

    # --- doing -----------------------------------------------------------------------------

    def _done(self, query: BarsQuery, plan: FetchPlan, work: FetchState) -> FetchPlan:
        """Ask for what the plan says, or say that it is not asked for; return the plan as done."""
        if query.offline:
            work.unfilled += [Unfilled(s, "not cached, and offline") for s in plan.segments]
            return plan
        if plan.segments:
            # One process fetches a series at a time; what another one has fetched is planned anew.
            with self._turns.take(work.key) as turn:
                work.end_phase()
                work.note_lacking(turn.lacking)
                is_as_planned = self._writer.view(work).generation == plan.generation
                if (turn.has_waited or not is_as_planned) and not query.refresh:
                    plan = self._planner.lacking(query, plan.wanted, work)
                self._fill(plan.segments, work)
                self._fill_overdue(plan.wanted, work)
                self._listing.seek(work, plan.segments)
        self._ask_forming(query, plan, work)
        self._remember_closed(plan, work)
        return plan

    def _fill(self, segments: Sequence[Span], work: FetchState) -> None:
        """Ask the vendors in order; of a day that one lacks for most symbols the others first.

        Not of one that may not be published yet: where the others have it before, it would never be
        asked of its vendor again.
        """
        usual, late = work.lane, [day for day in work.lacking if day.condition != "pending"]
        try:
            for lane, spans in usual.by_days(late, segments):
                work.lane = lane
                # What is cut off beside a session may hold hours alone in which no bar is expected.
                spans = [s for s in spans if s in segments or work.grid.next_open(s.start) < s.end]
                if spans and lane is not usual:
                    names = ", ".join(candidate.name for candidate in lane.candidates)
                    text = "%s from %s is asked of %s in this order, for a vendor lacks the session"
                    log.warning(text, work.query, iso(spans[0].start), names)
                self._fetcher.fill(work, spans)
        finally:
            work.lane = usual

    def _fill_overdue(self, wanted: Span, work: FetchState) -> None:
        """Ask again for bars that an answer has just made doubtful and whose time is over."""
        if not work.overdue:
            return
        reach = Span(wanted.start, min(wanted.end, self._planner.cap(work)))
        spans = intersect(work.overdue, [reach])
        work.overdue.clear()
        self._fetcher.fill(work, spans)

    def _ask_forming(self, query: BarsQuery, plan: FetchPlan, work: FetchState) -> None:
        """Ask for the running bar when it was wanted and has not come along already."""
        is_wanted = query.include_forming and plan.wanted.end > plan.cap
        if is_wanted and work.forming is None and not _has_none_running(work, plan.cap):
            end = max(plan.wanted.end, plan.cap + MINUTE_MS)
            self._fetcher.forming_bar(work, Span(plan.cap, end))

    def _is_ahead(self, span: Span, work: FetchState) -> bool:
        """Tell whether a stretch lies behind all that is known: a hit does not look there either."""
        coverage = self._writer.view(work).coverage
        return bool(coverage) and span.start >= coverage[-1].span.end

    def _remember_closed(self, plan: FetchPlan, work: FetchState) -> None:
        """Note stretches in which no bar is expected, so that they need no calendar again.

        Not beside bars of older tools: their files are taken over by the first write, and reading
        is none.
        """
        view, now = self._writer.view(work), self._writer.now_ms(work)
        closed = [s for s in plan.closed if s not in plan.segments]
        closed = subtract(closed, (c.span for c in view.coverage if c.stands(now)))
        closed = [s for s in closed if not self._is_ahead(s, work)]
        if closed and view.exists and not any(map(is_older, view.coverage)):
            # Not for ever: calendars are corrected.
            expires = now + self._expiry.old_ms
            marks = tuple(
                Covered(s, "empty", reason=CLOSED, fetched_at=now, expires=expires) for s in closed
            )
            self._writer.commit(work, Commit(marks=marks))

    def _read(self, query: BarsQuery, wanted: Span, work: FetchState, cap: int) -> Answer:
        """Read the answer; ask for the actions that it needs, or do with an older basis."""
        last: Span | None = None
        for _ in range(2):
            try:
                return self.reader.answer(query, work.key, wanted, Outcome.of(work, cap))
            except ActionsMissingError as needed:
                if query.offline or needed.span == last:  # no vendor knows more by its own time
                    break
                last = needed.span
                # Some are told days late: one more look at the last days costs nothing.
                span = Span(min(needed.span.start, needed.span.end - TOLD_LATE_MS), needed.span.end)
                if self._action_fetcher.ask(work, span):
                    self._planner.doubt_near_splits(work)
                    self._fill_overdue(wanted, work)
                elif not self._ask_anew(query, wanted, work):
                    break
        return self.reader.answer(query, work.key, wanted, Outcome.of(work, cap), lenient=True)

    def _ask_anew(self, query: BarsQuery, wanted: Span, work: FetchState) -> bool:
        """Ask for all bars in one basis where no vendor tells what happened between two of them.

        Bars that come the same are as good as fetched now; others are replaced.
        """
        if all(c.adjustment != query.adjustment for c in work.lane.candidates):
            return False
        reach = Span(wanted.start, min(wanted.end, self._planner.cap(work)))
        parts = self._writer.coverage(work).within(reach)
        self._fetcher.fill(work, coalesce(p.span for p in parts if p.state != "empty"))
        return True


def _deleted(gaps: Iterable[Gap], lost: Sequence[Span]) -> list[Gap]:
    """Return gaps with the true reason where bars were deleted again and again before they were read."""
    cut = []
    for gap in gaps:
        parts = intersect([gap.span], lost) if gap.reason == UNPUBLISHED else []
        cut += [replace(gap, span=span, reason=DELETED) for span in parts]
        cut += [replace(gap, span=span) for span in subtract([gap.span], parts)]
    return sorted(cut, key=lambda gap: gap.span)


def real_gaps(gaps: Iterable[Gap], cap: int, grid: BarGrid, kind: Kind | None = None) -> list[Gap]:
    """Leave out stretches from ``cap`` on, and those asked for in which no bar is expected."""
    real = []
    for gap in gaps:
        span = Span(gap.span.start, min(gap.span.end, cap))
        if span.is_empty:
            continue
        is_real = (
            may_open(grid, span, kind)
            if gap.reason == UNASKED
            else grid.next_open(span.start) < span.end
        )
        if is_real:
            real.append(replace(gap, span=span))
    return real


def _has_none_running(work: FetchState, cap: int) -> bool:
    """Tell whether the vendor that would be asked has just answered for the running bar, without it."""
    first = next((one.name for one in work.lane.candidates if one.name not in work.out), "")
    answers = [a for a in work.attempts if a.provider == first and a.outcome in ("ok", "empty")]
    return any(answer.end_ms > cap for answer in answers)


def _unrefreshed(query: BarsQuery, work: FetchState) -> list[str]:
    """Say that a refresh which was asked for could not be done."""
    if not query.refresh or query.offline or not work.unfilled:
        return []
    return [f"not all bars could be fetched again: {work.unfilled[0].reason}"]

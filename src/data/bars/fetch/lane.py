"""Answer a query from one lane: fetch what the plan says, read the whole."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from ...cache.store import BarStore, Commit
from ...calendars.gaps import BarGrid
from ...clock import Clock
from ...errors import BadRangeError
from ...model.coverage import Coverage, Covered
from ...model.instant import MINUTE_MS, iso
from ...model.query import BarsQuery
from ...model.rules import ValidationRules
from ...model.span import Span, coalesce, intersect, subtract
from ..answer.adjust import ActionsMissingError
from ..answer.answer import LOOKBACKS, Answer, Gap, Unfilled, as_known, closed_rows, last_of
from ..answer.reader import Outcome, Reader
from ..selection.source_check import SourceCheck
from ..turns import Turns
from ..validity import CLOSED, Expiry, is_older
from .absence import ListingProof
from .actions import TOLD_LATE_MS, ActionFetcher
from .fetcher import Fetcher
from .plan import FetchPlan, Planner
from .state import FetchState, StoreWriter

log = logging.getLogger("onetape.routing")


class LaneRunner:
    """Answers queries from one lane at a time. Thread-safe: it keeps no state of its own.

    Attributes:
        reader: reads the answers.
        sources: tells whether files have changed, and which lane is that of their folder.
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
        self.reader = reader
        self._expiry = expiry
        self._turns = turns
        self._writer = StoreWriter(store, clock)
        self._action_fetcher = ActionFetcher(self._writer, clock)
        self.sources = sources
        self._planner = Planner(store, self._writer, sources)
        self._fetcher = Fetcher(self._writer, clock, expiry, checks)
        self._listing = ListingProof(self._writer, expiry)
        self.on_todo: Callable[[FetchState, FetchPlan], None] = lambda work, plan: None

    def answer(self, query: BarsQuery, work: FetchState) -> Answer:
        """Fill what is missing of the wanted span; a count of bars may reach further back.

        Raises:
            KindMismatchError: the lane's bars cannot be brought to the asked basis.
        """
        answer = self._filled(query, self._planner.wanted(query, work, 1), work)
        for tries in range(1, LOOKBACKS):
            if query.bars is None or closed_rows(answer) >= query.bars or not len(answer.table):
                break
            try:
                further = self._planner.wanted(query, work, 2**tries)
            except BadRangeError:  # calendars do not reach so far back: these are all there are
                break
            answer = self._filled(query, further, work)
        return answer if query.bars is None else last_of(answer, query.bars)

    def _filled(self, query: BarsQuery, wanted: Span, work: FetchState) -> Answer:
        self._store.listener.used(work.key, wanted)
        work.end_phase()  # other callers may have been waited for
        plan = self._planner.todo(query, wanted, work)
        self.on_todo(work, plan)
        before = plan.stored
        plan = self._done(query, plan, work)
        answer = as_known(self._read(query, wanted, work, plan.cap))
        if lost := self._lost(before, plan, work):
            now = self._writer.view(work).generation
            plan_of_lost = replace(plan, segments=tuple(lost), closed=(), generation=now)
            self._done(query, plan_of_lost, work)
            answer = as_known(self._read(query, wanted, work, plan.cap))
        doubts = [*answer.doubts, *_unrefreshed(query, work)]
        if work.outdated:
            doubts.append(work.outdated)
        gaps = real_gaps(answer.gaps, plan.cap, work.grid)
        if not (gaps or len(answer.table) or query.offline):
            # No bar is expected, but the one question whether there is any was not answered.
            gaps = [Gap(part.span, part.reason, failed=part.failed) for part in work.unfilled]
        return replace(answer, gaps=gaps, doubts=doubts)

    def _lost(self, before: Coverage, plan: FetchPlan, work: FetchState) -> list[Span]:
        """Return what was stored when it was planned and is not now: a repair could not keep it."""
        reach = Span(plan.wanted.start, min(plan.wanted.end, plan.cap))
        stored = [part.span for part in self._writer.coverage(work)]
        spans = [part.span for part in before.within(reach) if part.state != "empty"]
        return coalesce(lost for span in spans for lost in subtract([span], stored))

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

    def _remember_closed(self, plan: FetchPlan, work: FetchState) -> None:
        """Note stretches in which no bar is expected, so that they need no calendar again.

        Not beside bars of older tools: their files are taken over by the first write, and reading
        is none.
        """
        view, now = self._writer.view(work), self._writer.now_ms(work)
        closed = [s for s in plan.closed if s not in plan.segments]
        closed = subtract(closed, (c.span for c in view.coverage if c.stands(now)))
        if view.next_due is not None and now < view.next_due and view.coverage:
            # Behind all that is known nothing is due yet: that is a hit already.
            closed = [s for s in closed if s.start < view.coverage[-1].span.end]
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


def real_gaps(gaps: Iterable[Gap], cap: int, grid: BarGrid) -> list[Gap]:
    """Leave out stretches from ``cap`` on, and those in which no bar is expected."""
    real = []
    for gap in gaps:
        span = Span(gap.span.start, min(gap.span.end, cap))
        if not span.is_empty and grid.next_open(span.start) < span.end:
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

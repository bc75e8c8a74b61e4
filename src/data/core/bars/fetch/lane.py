"""Answers a query from one lane: fetches according to the plan, then reads the whole range."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ....errors import Attempt, BadRangeError, DataError
from ...cache.store import BarStore, Commit
from ...calendars.gaps import missing
from ...calendars.grid import BarGrid
from ...clock import Clock
from ...config.rules import ValidationRules
from ...model.identity.kind import Kind
from ...model.request.capabilities import Derivative
from ...model.stored.coverage import WITH_BARS, Coverage, Covered, Stretches
from ...model.stored.reasons import CLOSED, DELETED, UNASKED, UNCACHED, UNPUBLISHED, sentence
from ...model.time.edges import difference, edges_of, spans_of
from ...model.time.instant import MINUTE_MS, date_of, day_ms
from ...model.time.span import Span, clipped, coalesce, intersect, subtract
from ..answer.answer import Allowed, Answer, Gap, Missing, as_known, joined, not_asked
from ..answer.counts import LOOKBACKS, closed_rows, counted
from ..answer.reader import FetchOutcome, Reader
from ..answer.slots import may_open
from ..selection.candidates import Candidate
from ..selection.source_check import version_of
from ..series import LATE_BY_MS, Journal, LaneRequest, SeriesStore, UnfilledSpan
from ..turns import Turns
from ..validity import LONGEST_MS, Expiry
from .absence import still_excluded
from .actions import ActionFetcher
from .attempt import VendorReply, query_vendor
from .bounds import note_end_of_sample, prove_bounds
from .fetcher import Fetcher
from .plan import (
    FetchPlan,
    cap_of,
    end_to_check,
    mark_near_splits,
    plan_fetch,
    plan_missing,
    reader_of,
    wanted_span,
)

# Number of times that bars deleted between fetch and read are fetched again.
_MOST_LOSSES = 3


@dataclass(frozen=True)
class LaneServices:
    """The services that all runs of lanes share. Thread-safe.

    Attributes:
        store: The store.
        clock: Source of the current time.
        reader: Reads the answers.
        expiry: How long a vendor's report of no bars for a span stays valid.
        checks: Rules for checking answers.
        turns: Ensures that only one process at a time fetches a series.
        log: Logger for the requests.
    """

    store: BarStore
    clock: Clock
    reader: Reader
    expiry: Expiry
    checks: ValidationRules
    turns: Turns
    log: logging.Logger


class LaneRun:
    """The execution of one request in its lane (the stored series of one kind of bars).

    Use from one thread only.

    Args:
        services: Services shared with other runs.
        request: The request.
        excluded: Vendors not to query, with the reason.

    Attributes:
        request: The request.
        series: Store of the series.
        journal: Record of the attempts, with their results.
    """

    def __init__(
        self, services: LaneServices, request: LaneRequest, excluded: Mapping[str, DataError]
    ) -> None:
        self._services, self.request = services, request
        store, clock = services.store, services.clock
        self.series = SeriesStore(store, clock, request.key, request.query, request.log)
        self.journal = journal = Journal(excluded=still_excluded(self.series, excluded))
        self._has_closes = request.query.offline
        self._action_fetcher = ActionFetcher(clock, request, self.series, journal)
        self._fetcher = Fetcher(request, self.series, journal, self._action_fetcher)

    def answer(self, *, has_closes: bool = False) -> Answer | Missing:
        """Fill the missing parts of the requested span and return the answer.

        If a number of bars is requested and the span has too few, earlier spans are also filled.
        The result is :class:`.Missing` if prices or their ``adj_close`` cannot be adjusted for a
        dividend; its ``days`` are those to fetch before the next call. With ``has_closes``, that
        has been tried, so an ``adj_close`` that cannot be adjusted is left out.

        Raises:
            KindMismatchError: The lane's bars cannot be converted to the requested basis.
            StorageError: One of the paths of the series' files is not a regular file.
        """
        request, query = self.request, self.request.query
        self._has_closes = has_closes or query.offline
        if query.bars is not None and request.key.is_sample:
            note_end_of_sample(request, self.series)
        first = wanted = wanted_span(request, self.series)
        answer = self._answer_for(wanted)
        if query.bars is None or isinstance(answer, Missing):
            return answer
        reaches = [query.bars * 2**tries for tries in range(1, LOOKBACKS)]
        late = self._late_bars(answer)
        if closed_rows(answer) + late >= query.bars:  # nothing else is missing
            reaches.insert(0, query.bars + late)
        for reach in reaches:
            # Stored bars further back cost no request.
            is_cut_off = self.journal.unfilled and not len(answer.table) and not query.offline
            if closed_rows(answer) >= query.bars or is_cut_off:
                break
            try:
                wanted = wanted_span(request, self.series, reach)
            except BadRangeError:  # calendars do not go back further: these are all the bars
                break
            answer = self._answer_for(wanted)
            if isinstance(answer, Missing):
                return answer
        if closed_rows(answer) < query.bars and wanted_span(request, self.series) < first:
            return self.answer(has_closes=has_closes)  # from an end that has just been proved
        return counted(answer, query.bars, wanted.start)

    def _late_bars(self, answer: Answer) -> int:
        """Return how many of the last bars have closed but are not published yet."""
        rows, gaps = closed_rows(answer), [gap for gap in answer.gaps if not gap.harmless]
        if not gaps or gaps[-1].reason != UNPUBLISHED:
            return 0
        late = gaps[-1].span
        is_at_end = not rows or int(answer.table.stamps[rows - 1]) < late.start
        return len(self.request.grid.opens(late)) if is_at_end else 0

    def _answer_for(self, wanted: Span) -> Answer | Missing:
        """Fetch the missing bars in ``wanted``, and return the answer for that span."""
        request, series, journal = self.request, self.series, self.journal
        self._services.store.listener.used(request.key, wanted)
        series.end_phase()  # the call may have waited for other callers
        plan = plan_fetch(request, series, journal, wanted)
        if not (tail := end_to_check(request, series, wanted)).is_empty:
            self._carry_out(replace(plan, segments=(tail,), closed=()))
            plan = plan_fetch(request, series, journal, wanted)
        before = plan.coverage_before
        plan = self._carry_out(plan)
        tries = 0
        while True:
            answer = self._read_with_actions(plan)
            if isinstance(answer, Missing):
                return answer
            lost = self._lost_spans(before, plan)
            if not lost or tries == _MOST_LOSSES:
                break
            tries += 1
            generation = series.view().generation
            self._carry_out(replace(plan, segments=tuple(lost), generation=generation))
        answer = as_known(answer)
        doubts = [*answer.doubts, *self._refresh_doubts(wanted)]
        answer = replace(answer, gaps=self._gaps(answer, plan, lost))
        return replace(answer, doubts=doubts)

    def _gaps(self, answer: Answer, plan: FetchPlan, lost: Sequence[Span]) -> Sequence[Gap]:
        """Return the gaps in an answer: stored gaps, lost bars, and spans that were not requested.

        ``lost`` are spans whose bars were deleted before they were read.
        """
        query, grid, wanted = self.request.query, self.request.grid, plan.wanted
        unfilled = self.journal.unfilled
        # Spans not requested or not covered by any answer are reported whether recorded or not.
        answered = [*answer.coverage.standing(query.now_ms), *(gap.span for gap in unfilled)]
        elapsed = Span(wanted.start, min(wanted.end, plan.cap_ms, query.now_ms + 1))
        unasked = missing(elapsed, answered, (), grid).closed
        if len(answer.table) or not self._is_ahead(wanted):
            # Spans that a hit from the stored documents ignores are never reported here, either.
            unasked = [span for span in unasked if not self._is_ahead(span)]
        answer_gaps = _with_deleted(answer.gaps, lost)
        all_gaps = joined(answer_gaps, [not_asked(span) for span in unasked])
        gaps = real_gaps(all_gaps, plan.cap_ms, grid, self.series.view().kind)
        if not (gaps or len(answer.table) or query.offline):
            # No bar is expected, but the only query that could have found some was not answered.
            return [Gap(gap.span, gap.reason, failed=gap.failed) for gap in unfilled]
        return gaps

    def _lost_spans(self, before: Coverage, plan: FetchPlan) -> list[Span]:
        """Return spans that were stored before planning or by this request but no longer exist.

        Either a repair could not preserve them, or another caller has deleted them.
        """
        reach = Span(plan.wanted.start, min(plan.wanted.end, plan.cap_ms))
        stored = [entry.span for entry in self.series.coverage()]
        spans = before.within(reach).where(lambda entry: entry.state in WITH_BARS)
        stored_edges = edges_of(intersect(self.series.stored_spans, [reach]))
        accounted = edges_of((*stored, *(gap.span for gap in self.journal.unfilled)))
        return spans_of(difference(np.concatenate([spans, stored_edges]), accounted))

    def _refresh_doubts(self, wanted: Span) -> list[str]:
        """Return a sentence for each kind of data that a requested refresh could not fetch again."""
        query, unfilled = self.request.query, self.journal.unfilled
        if not query.refresh or query.offline:
            return []
        doubts = [
            f"not all bars could be fetched again: {sentence(u.reason)}" for u in unfilled[:1]
        ]
        if query.adjustment != "raw":
            unchecked = self._action_fetcher.unchecked(Span(wanted.start, query.now_ms + 1))
            doubts += [f"the {action} could not be checked again" for action in unchecked[:1]]
        return doubts

    def derivative_hint(self, owner: Candidate) -> tuple[str, list[Attempt]]:
        """Return a hint on requesting a derivative with the query's name, and the attempts made.

        ``owner`` is the vendor whose listing the symbol names. The hint is empty if that vendor has
        no such derivative.
        """
        query, clock = self.request.query, self._services.clock
        fetch = getattr(owner.downloader, "derivative", None)
        if fetch is None or owner.capabilities is None or query.offline:
            return "", []
        call = fetch, query.instrument, query.now_ms
        reply: VendorReply[Derivative] = query_vendor(clock, owner.name, Span(0, 0), *call)
        if reply.error is not None:
            log = self.request.log
            log.warning("%s did not list its derivatives: %s", owner.name, reply.error)
        attempt = reply.attempt("asked for a perpetual future")
        is_sent = attempt.requests or attempt.error
        return reply.value.hint if reply.value else "", [attempt] if is_sent else []

    def is_current(self) -> bool:
        """Return whether the user's file has not changed during the run; True for other lanes."""
        reader, query = reader_of(self.request), self.request.query
        if reader is None:
            return True
        timeframe = self.request.key.timeframe
        return self.series.is_of(version_of(reader.downloader, query.instrument, timeframe))

    # --- execution -------------------------------------------------------------------------

    @property
    def _is_closed(self) -> bool:
        """Whether no vendor may be queried; the user's own files are read offline, too."""
        return self.request.query.offline and not self.request.key.of_folder

    def _carry_out(self, plan: FetchPlan) -> FetchPlan:
        """Fetch the plan's segments, or record why that failed; return the plan that was carried out."""
        request, series, journal = self.request, self.series, self.journal
        if self._is_closed:
            journal.unfilled += [UnfilledSpan(s, UNCACHED) for s in plan.segments]
            return plan
        if plan.segments:
            # Only one process fetches a series at a time; if another one has fetched bars
            # meanwhile, a new plan is made.
            with self._services.turns.hold(request.key) as has_waited:
                series.end_phase()
                is_as_planned = series.view().generation == plan.generation
                if (has_waited or not is_as_planned) and not request.query.refresh:
                    plan = plan_missing(request, series, journal, plan.wanted)
                self._fetcher.fill(plan.segments)
                self._fill_due(plan.wanted)
                prove_bounds(request, series, journal, plan.segments)
        self._query_forming(plan)
        self._remember_closed(plan)
        return plan

    def _fill_due(self, wanted: Span) -> None:
        """Fetch spans again that an answer, or a split that it reports, has just made due."""
        mark_near_splits(self.series, self.journal)  # even for confirmed bars
        due_now, self.journal.due_now = self.journal.due_now, []
        if due_now:
            reach = Span(wanted.start, min(wanted.end, cap_of(self.request, self.series)))
            self._fetcher.fill(intersect(due_now, [reach]))

    def _query_forming(self, plan: FetchPlan) -> None:
        """Request the forming bar if the query includes it and it has not been received already."""
        is_wanted = self.request.query.include_forming and plan.wanted.end > plan.cap_ms
        if is_wanted and self.journal.forming is None and not self._lacks_forming(plan.cap_ms):
            end = max(plan.wanted.end, plan.cap_ms + MINUTE_MS)
            self._fetcher.query_forming(Span(plan.cap_ms, end))

    def _lacks_forming(self, cap_ms: int) -> bool:
        """Return whether the first usable vendor has answered for the time after ``cap_ms``.

        If so, it has no forming bar and need not be queried for one.
        """
        attempts, excluded = self.journal.attempts, self.journal.excluded
        names = (c.name for c in self.request.route.candidates if c.name not in excluded)
        first = next(names, "")
        answers = [a for a in attempts if a.provider == first and a.outcome in ("ok", "empty")]
        return any(answer.end_ms > cap_ms for answer in answers)

    def _is_ahead(self, span: Span) -> bool:
        """Return whether a span begins after the stored coverage ends; cache hits also ignore such spans."""
        coverage = self.series.view().coverage
        return bool(coverage) and span.start >= coverage[-1].span.end

    def _remember_closed(self, plan: FetchPlan) -> None:
        """Record spans in which no bar is expected, so that no calendar is needed next time."""
        view, now = self.series.view(), self.series.now_ms()
        closed = [s for s in plan.closed if s not in plan.segments]
        closed = subtract(closed, (entry.span for entry in view.coverage if entry.is_valid(now)))
        closed = [s for s in closed if not self._is_ahead(s)]
        if closed and view.exists:
            # Not forever: calendars get corrected.
            expires = now + LONGEST_MS
            marks = tuple(
                Covered(s, "empty", reason=CLOSED, fetched_at=now, expires=expires) for s in closed
            )
            self.series.commit(Commit(marks=marks))

    def _read_with_actions(self, plan: FetchPlan) -> Answer | Missing:
        """Read the answer, after fetching the splits and dividends that its adjustment needs.

        If they cannot be fetched, prices adjusted as of an earlier date are accepted. A refresh
        fetches them again even if they are known.

        Raises:
            KindMismatchError: The bars cannot be converted to the requested basis.
        """
        last, is_refetched = Span(0, 0), False
        query = self.request.query
        self._action_fetcher.judge_again()
        if query.refresh and not query.offline and query.adjustment != "raw":
            start = date_of(min(plan.wanted.start, query.now_ms))
            self._action_fetcher.fetch_again(Span(day_ms(start), query.now_ms + 1))
            self._fill_due(plan.wanted)
        for _ in range(2 + len(self.request.route.reporters)):
            answer = self._read_stored(plan)
            if isinstance(answer, Answer) or (answer.ex_dates.is_empty and not self._has_closes):
                return answer
            is_awaited = self._action_fetcher.is_awaited(answer.ex_dates)
            # According to the vendor's own time, no vendor can know more.
            is_known = answer.ex_dates in (last, Span(0, 0)) and not is_awaited
            if query.offline or is_refetched or is_known:
                break
            last = answer.ex_dates
            # Some are reported days late; checking the last days again costs nothing.
            span = Span(min(last.start, last.end - LATE_BY_MS), last.end)
            if self._action_fetcher.fetch(span):
                self._fill_due(plan.wanted)
                continue
            older = self._read_stored(plan, "older") if is_awaited else answer
            if isinstance(older, Answer) or not self._fetch_in_one_basis(plan.wanted):
                break
            is_refetched = True
        return self._read_stored(plan, "older")

    def _read_stored(self, plan: FetchPlan, to: Allowed = "latest") -> Answer | Missing:
        """Read the plan's span from the store, with what the journal has noted about it."""
        request = self.request
        outcome = FetchOutcome.of(request, self.series, self.journal, plan.cap_ms)
        return self._services.reader.read(request.query, request.key, plan.wanted, outcome, to)

    def _fetch_in_one_basis(self, wanted: Span) -> bool:
        """Fetch all bars again in one basis, because no vendor reports the intervening actions.

        Return False if no vendor has prices in the requested adjustment. Bars that are received
        unchanged count as fetched now; others are replaced.
        """
        request = self.request
        if all(c.adjustment != request.query.adjustment for c in request.route.candidates):
            return False
        reach = Span(wanted.start, min(wanted.end, cap_of(request, self.series)))
        entries = self.series.coverage().within(reach)
        self._fetcher.fill(coalesce(entry.span for entry in entries if entry.state in WITH_BARS))
        return True


def _with_deleted(gaps: Sequence[Gap], lost: Sequence[Span]) -> Sequence[Gap]:
    """Return the gaps, with the reason ``deleted`` if bars were lost rather than unpublished."""
    if not lost:
        return gaps
    cut = []
    for gap in gaps:
        deleted = clipped(lost, gap.span) if gap.reason == UNPUBLISHED else []
        cut += [replace(gap, span=span, reason=DELETED) for span in deleted]
        cut += [replace(gap, span=span) for span in subtract([gap.span], deleted)]
    return sorted(cut, key=lambda gap: gap.span)


def real_gaps(
    gaps: Sequence[Gap], cap_ms: int, grid: BarGrid, kind: Kind | None = None
) -> Sequence[Gap]:
    """Return the gaps before ``cap_ms`` in which a bar is expected.

    A gap that was never requested is kept if a bar could open in it.
    """
    if not gaps:
        return gaps
    columns = joined(gaps).columns
    columns = columns.take(columns.starts < cap_ms)
    columns = columns._replace(ends=np.minimum(columns.ends, cap_ms))
    is_real = grid.expects(columns.edges)
    is_unasked = np.array([gap.reason == UNASKED for gap in columns.sources], bool)[columns.codes]
    for at in np.flatnonzero(is_unasked).tolist():
        is_real[at] = may_open(grid, Span(*columns.edges[at].tolist()), kind)
    return Stretches.of(columns.take(is_real))

"""Queries the candidates for each missing span, one after another, until one of them supplies it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ....errors import (
    FAILOVER_ERRORS,
    CapabilityError,
    DataError,
    NoDataError,
    OvertakenError,
    ProviderTimeoutError,
    QualityError,
    SpliceConflictError,
)
from ...model.market.bars import inside
from ...model.request.capabilities import Fetched, FetchQuery
from ...model.stored.coverage import Coverage
from ...model.stored.reasons import CLOSED, NO_BAR
from ...model.time.edges import spans_of
from ...model.time.instant import iso
from ...model.time.span import Span, clipped, coalesce, subtract, touching
from ...net.calls.deadline import check_time, run_part
from ...net.http.send_records import reporting
from ...observability.logs import level_of
from ...registry import is_free
from ...vendors.archives import chunk_end
from ..ingest.draft import AnswerDraft
from ..ingest.receive import check_kind, in_stored_unit
from ..ingest.take import process_answer, take_forming
from ..selection.candidates import Candidate
from ..selection.source_check import span_of_rows
from ..series import Journal, LaneRequest, SeriesStore, VendorQuestion
from ..sorted_answer import ClassifiedAnswer
from .absence import missing_symbol_as_outage, record_absence, suppliers
from .actions import ActionFetcher
from .attempt import VendorReply, query_vendor
from .plan import in_few_requests
from .question import neighbors, question_for

# Amount of data to receive between commits. Data received since the last commit is lost if a
# process is killed or a call times out, but a commit costs as much as processing a page.
PAGES_A_COMMIT = 4
# If there are more empty spans than this, they are recorded only while the call has time.
WORTH_STOPPING = 1_000
# Factor by which each chunk grows while nothing is received.
_CHUNK_GROWTH = 8


class SpanGroup(NamedTuple):
    """Ascending spans to request at once.

    Nothing else is missing between them, or between the last one and ``until_ms``.
    """

    spans: Sequence[Span]
    until_ms: int

    @property
    def whole(self) -> Span:
        """The span from the start of the first span to the end of the last span."""
        return Span(self.spans[0].start, self.spans[-1].end)

    def within(self, chunk: Span) -> SpanGroup:
        """Return the parts of these spans that are in ``chunk``.

        ``until_ms`` of the result is the start of the next span after ``chunk``, if any.
        """
        spans = clipped(self.spans, chunk)
        later = bisect_left(self.spans, (chunk.end,))
        until_ms = self.spans[later].start if later < len(self.spans) else self.until_ms
        return SpanGroup(spans, until_ms)


class ChunkResult(NamedTuple):
    """The outcome of requesting one chunk from one candidate.

    Attributes:
        reason: Reason why the candidate lacks these spans.
        lacking: Missing spans, to request from the next candidate.
        between: Missing spans between two pages of its answer, to request from it again.
    """

    reason: DataError
    lacking: Sequence[Span]
    between: Sequence[Span] = ()


@dataclass(frozen=True)
class _Segment:
    """An entry in the work list: missing spans, and the candidate vendor to query for them next.

    Attributes:
        groups: Ascending spans that are missing. If the segment is split, those of one group are
            requested together; until then, all are in one group.
        position: Position of the candidate in the lane; after the last one, no candidate is left.
        reasons: Reasons why the previous candidates lack these spans.
        is_split: Whether the spans have been split into groups for the candidate.
        chunk_ms: Length of the chunk last requested from the first group; 0 if there was none yet.
        rows: Number of rows that had been received before that chunk was requested.
    """

    groups: tuple[SpanGroup, ...]
    position: int = 0
    reasons: tuple[DataError, ...] = ()
    is_split: bool = False
    chunk_ms: int = 0
    rows: int = 0

    @classmethod
    def of(
        cls, spans: Iterable[Span], position: int = 0, reasons: tuple[DataError, ...] = ()
    ) -> _Segment:
        """Return a segment that is not split."""
        return cls((SpanGroup(tuple(spans), 0),), position, reasons)

    @property
    def spans(self) -> list[Span]:
        """The spans of all groups."""
        return [span for group in self.groups for span in group.spans]

    def passed_on(self, spans: Iterable[Span], reason: DataError) -> _Segment:
        """Return the segment that passes ``spans`` on to the next candidate, with the reason added."""
        return _Segment.of(spans, self.position + 1, (*self.reasons, reason))

    def split(self, groups: Sequence[Sequence[Span]]) -> _Segment:
        """Return the segment with only the spans in ``groups``, which are requested group by group."""
        begins = [*(group[0].start for group in groups[1:]), 0]
        split = tuple(SpanGroup(*pair) for pair in zip(groups, begins, strict=False))
        return replace(self, groups=split, is_split=True)

    def after(self, chunk: Span, chunk_ms: int, rows: int) -> _Segment:
        """Return the segment that remains after ``chunk``, a part of the first group, was requested."""
        first, *others = self.groups
        rest = first.within(Span(chunk.end, first.whole.end))
        if not rest.spans:
            return replace(self, groups=tuple(others), chunk_ms=0, rows=0)
        return replace(self, groups=(rest, *others), chunk_ms=chunk_ms, rows=rows)


class Fetcher:
    """Queries a lane's vendors for missing bars and stores the answers. Use from one thread only.

    Args:
        request: Request to the lane.
        series: Store of the series.
        journal: Record of the attempts, to which the results are added.
        action_fetcher: Fetcher of splits and dividends for the same request.
    """

    def __init__(
        self,
        request: LaneRequest,
        series: SeriesStore,
        journal: Journal,
        action_fetcher: ActionFetcher,
    ) -> None:
        self._request, self._series, self._journal = request, series, journal
        self._action_fetcher = action_fetcher
        self._clock = action_fetcher.clock
        self._todo: list[_Segment] = []
        self._is_last = False

    def query_forming(self, span: Span) -> None:
        """Request the forming bar in ``span``; it is kept in the journal and never stored."""
        journal = self._journal
        for candidate in self._request.route.candidates:
            if candidate.name in journal.excluded:
                continue
            question = VendorQuestion(span, neighbors(self._request, self._series, candidate, span))
            reply = query_vendor(
                self._clock, candidate.name, span, self._fetch_forming, candidate, question
            )
            if reply.value is None:
                self._note(reply)
                continue
            requests = reply.value.fetched.requests
            journal.forming = reply.value.forming or journal.forming
            if requests:
                attempt = reply.attempt("the forming bar", requests=requests)
                journal.side_attempts.append(attempt)
            return

    def _fetch_forming(self, candidate: Candidate, question: VendorQuestion) -> AnswerDraft:
        """Query one candidate for the forming bar; return the draft of its answer.

        Raises:
            ProviderError, ConfigError: The candidate did not answer, or its answer does not match
                the question.
        """
        query = self._fetch_query(candidate, question)
        with reporting(candidate.account_name):
            fetched = in_stored_unit(self._fetch(candidate, query), self._series)
            draft = self._draft(candidate, question, fetched)
            take_forming(draft, self._series)
            return draft

    def _draft(
        self, candidate: Candidate, question: VendorQuestion, fetched: Fetched
    ) -> AnswerDraft:
        parts = self._request, candidate, question, fetched, self._series.now_ms()
        return AnswerDraft(*parts, is_last=self._is_last)

    def _fetch_query(self, candidate: Candidate, question: VendorQuestion) -> FetchQuery:
        """Return the query in the form that a vendor expects, limited to its depth of history."""
        query, timeframe = self._request.query, self._request.grid.timeframe
        now_ms = self._series.now_ms()
        reach = candidate.servable(question.reach, timeframe, now_ms)
        is_known = candidate.name in suppliers(self._series)
        return FetchQuery(query.instrument, timeframe, reach, now_ms, query.refresh, is_known)

    def _fetch(self, candidate: Candidate, query: FetchQuery) -> Fetched:
        """Query one of this library's vendors, or another downloader through its ``get_ohlcv``.

        Raises:
            ProviderError, ConfigError: The candidate did not answer with bars.
        """
        self._action_fetcher.check(candidate, query.span)
        has_others = self._request.has_others(candidate, self._journal.excluded)
        try:
            with missing_symbol_as_outage(self._series, candidate.name, query):
                fetched = run_part(self._clock, has_others, candidate.fetch, query)
            self._action_fetcher.fetch_beside(candidate, query.span, fetched.table)
            return fetched
        finally:
            self._series.end_phase()

    def fill(self, missing: Sequence[Span]) -> None:
        """Query the candidates in order for the missing spans, and commit the answers.

        Bars that a candidate lacks are requested from the next candidate before any later bars are
        requested, because the length of the next chunk depends on the rows received, and adjacent
        bars are compared with bars stored by then. Spans for which no vendor has bars are recorded
        as empty, or listed as unfilled in the journal.

        Args:
            missing: Ascending spans.
        """
        request, journal = self._request, self._journal
        todo = self._todo = [_Segment.of(missing)] if missing else []
        while todo:
            segment = todo.pop()
            if segment.position == len(request.route.candidates):
                reasons = (*segment.reasons, *_out_of_time(segment))
                journal.unfilled += record_absence(request, self._series, segment.spans, reasons)
                continue
            candidate = request.route.candidates[segment.position]
            if candidate.name in journal.excluded:
                following = [segment.passed_on(segment.spans, journal.excluded[candidate.name])]
            elif segment.is_split:
                following = self._query_next(candidate, segment)
            else:
                following = self._split_segment(candidate, segment)
            todo += [entry for entry in reversed(following) if entry.spans]

    def _split_segment(self, candidate: Candidate, segment: _Segment) -> list[_Segment]:
        """Split a segment into one for this candidate and others for the next one.

        The next candidate gets spans that are too far back for this one, or that this one recently
        reported as empty.
        """
        coverage = Coverage() if self._request.query.refresh else self._series.coverage()
        now_ms, timeframe = self._series.now_ms(), self._request.grid.timeframe
        empty = [span for span in segment.spans if _has_none(coverage, candidate, span, now_ms)]
        skipped = set(empty)
        wanted = [span for span in segment.spans if span not in skipped]
        servable = [candidate.servable(span, timeframe, now_ms) for span in wanted]
        too_deep = [
            segment.passed_on([rest], self._depth_error(candidate, rest))
            for rest in subtract(wanted, servable)
        ]
        servable = [span for span in servable if not span.is_empty]
        groups = in_few_requests(servable, candidate.capabilities, timeframe)
        no_bar = NoDataError(NO_BAR, provider=candidate.name)
        return [segment.passed_on(empty, no_bar), *too_deep, segment.split(groups)]

    def _query_next(self, candidate: Candidate, segment: _Segment) -> list[_Segment]:
        """Query a candidate for the next chunk of its first group.

        Args:
            candidate, segment: Candidate, and the groups to request from it.

        Returns:
            The spans of the chunk that are still missing, and those after the chunk, as entries of
            the work list in the order in which to request them:

            1. ``between``: between two pages of the answer. Requested from the same candidate again.
            2. ``closed``: reported as empty, and the calendar does not expect a bar either. Recorded
               without querying another vendor.
            3. ``passed_on``: every other missing span of the chunk. Requested from the next
               candidate; if this one is excluded now, together with the rest of its group.
            4. The spans after the chunk or, if this candidate is excluded now, after its group.
               They stay with it; :meth:`fill` passes on the spans of an excluded candidate.
        """
        request, group = self._request, segment.groups[0]
        rows_before = self._journal.rows  # without the rows of this chunk
        chunk, chunk_ms = _next_chunk(candidate, request, segment, rows_before)
        after = segment.after(chunk, chunk_ms, rows_before)
        self._is_last = not (self._todo or after.spans or self._journal.due_now)
        result = self._query_vendor(candidate, group.within(chunk), segment.reasons)
        is_empty = isinstance(result.reason, NoDataError)
        closed: list[Span] = []
        lacking: list[Span] = []
        expected = request.grid.expects(result.lacking)
        for span, is_expected in zip(result.lacking, expected, strict=True):
            (lacking if is_expected or not is_empty else closed).append(span)
        passed_on = segment.passed_on(lacking, result.reason)
        if excluded_by := self._journal.excluded.get(candidate.name):
            # One entry, so that adjacent spans are requested as one; later groups stay separate.
            rest = group.within(Span(chunk.end, group.whole.end)).spans
            passed_on = segment.passed_on(coalesce([*lacking, *rest]), excluded_by)
            after = segment.after(group.whole, chunk_ms, rows_before)
        return [
            *(_Segment.of([hole], segment.position, segment.reasons) for hole in result.between),
            _Segment.of(closed, len(request.route.candidates), (result.reason,)),
            passed_on,
            after,
        ]

    def _query_vendor(
        self, candidate: Candidate, group: SpanGroup, before: Sequence[DataError]
    ) -> ChunkResult:
        """Query one candidate for the missing parts of one chunk, which are a ``group``.

        If the answer has rows, :func:`process_answer` has already marked its gaps in the store. For an answer
        without rows, :func:`record_absence` does so later, once all vendors agree.
        """
        span, journal = group.whole, self._journal
        reply = query_vendor(
            self._clock,
            candidate.name,
            span,
            self._fetch_and_store,
            candidate,
            group,
            side_attempts=journal.side_attempts,
        )
        if reply.value is None:
            self._note(reply)
            assert reply.error is not None
            return ChunkResult(reply.error, group.spans)
        fetched, classified = reply.value.fetched, reply.value.answer
        rows = len(classified.closed)
        journal.attempts.append(reply.attempt(fetched.way, rows, fetched.requests))
        if before and rows:
            self._log_fallback(candidate, span, rows, before)
        reason = NoDataError(NO_BAR, provider=candidate.name)
        reason.server_now_ms = fetched.server_now_ms if fetched.dated else None
        seams = coalesce(fetched.seams)
        between = [hole for hole in classified.holes if hole != span and touching(seams, hole)]
        lacking = classified.lacking
        if is_free(
            candidate.name
        ):  # all of its rows are used, so other vendors only fill its holes
            lacking = subtract(group.spans, spans_of(classified.with_bars))
        if classified.requested:
            # Another vendor has reported bars that are missing here, so the lack of bars is not an
            # answer, even from a vendor that sends only bars with trades.
            lacking = coalesce([*lacking, *_without_rows(classified)])
        if forgotten := reply.value.forgotten:
            kept = clipped(group.spans, Span(span.start, reply.value.question.span.start))
            lacking = coalesce([*kept, *lacking])
        return ChunkResult(forgotten or reason, subtract(lacking, between), between)

    def _log_fallback(
        self, candidate: Candidate, span: Span, rows: int, before: Sequence[DataError]
    ) -> None:
        """Log that a candidate supplied bars after the errors ``before`` from earlier vendors.

        It is not a fallback if those vendors do not serve such bars at all, or not that far back.
        """
        errors = [e for e in before if not isinstance(e, CapabilityError)]
        if errors:
            self._request.log.log(
                max(map(level_of, errors)),
                "fallback: %s bars of %s from %s come from %s because %s could not supply them",
                rows,
                self._request.query,
                iso(span.start),
                candidate.name,
                ", ".join(dict.fromkeys(e.provider or "another vendor" for e in errors)),
            )

    def _fetch_and_store(self, candidate: Candidate, group: SpanGroup) -> AnswerDraft:
        """Query one candidate for one chunk; return the draft of its answer, the good part stored.

        Raises:
            ProviderError, ConfigError: The candidate did not answer, or its answer is not trusted.
        """
        request, series, journal = self._request, self._series, self._journal
        spans, until_ms = group
        if is_free(candidate.name):
            spans = self._spans_in_file(candidate, spans)
        question = question_for(request, series, candidate, spans, until_ms)
        query, kind = self._fetch_query(candidate, question), series.view().kind
        with reporting(candidate.account_name) as answers:
            fetched = self._fetch(candidate, query)
            # Bars that are only compared with stored ones are not this vendor's supply.
            supplied = [query.span] if query.is_known else spans
            if inside(fetched.table.stamps, supplied).any():
                first_ms = int(fetched.table.stamps.min())
                self._action_fetcher.fetch_own(candidate, question.span_of_actions, first_ms)
            fetched = in_stored_unit(fetched, series)
            try:
                check_kind(kind, request, fetched)
                draft = self._take_until_current(candidate, question, fetched)
            except FAILOVER_ERRORS as error:
                _report_bad_answer(candidate, query, error)
                raise
            if draft.answer.refusal:
                answers.blame(QualityError(draft.answer.refusal, provider=candidate.name))
        journal.fetched += draft.answered_parts
        journal.due_now += draft.due_now
        journal.forming = draft.forming or journal.forming
        journal.scores.append(draft.check.score)
        journal.problems += (p for p in draft.problems if p not in journal.problems)
        return draft

    def _spans_in_file(self, candidate: Candidate, spans: Sequence[Span]) -> Sequence[Span]:
        """Return the span of all rows of the user's file if none has been read, otherwise ``spans``.

        A file is judged as a whole, so that an answer does not depend on what was requested before.
        """
        if candidate.name in suppliers(self._series):
            return spans
        series = self._request.query.instrument, self._request.grid.timeframe
        rows = span_of_rows(candidate, *series, self._series.now_ms())
        return spans if rows.is_empty else [rows]

    def _take_until_current(
        self, candidate: Candidate, question: VendorQuestion, fetched: Fetched
    ) -> AnswerDraft:
        """Store an answer; if another host commits in the meantime, fit the same answer again.

        If the answer lacks only stored bars before its first one, these are kept as they are, and
        the rest is stored.
        """
        forgotten: DataError | None = None
        while True:
            draft = self._draft(candidate, question, fetched)
            draft.forgotten = forgotten
            try:
                process_answer(draft, self._series)
                return draft
            except QualityError as error:
                if draft.usable_from is None:
                    raise
                question, forgotten = question.since(draft.usable_from), error
                rows = fetched.table
                fetched = replace(fetched, table=rows.take(rows.stamps >= draft.usable_from))
            except OvertakenError as error:
                if error.is_final:
                    raise
                self._series.end_phase()

    def _note(self, reply: VendorReply[Any]) -> None:
        """Record and log a failed attempt."""
        self._journal.note(reply.attempt())
        reply.log_failure(self._request.query, self._request.log)

    def _depth_error(self, candidate: Candidate, span: Span) -> CapabilityError:
        """Return the error for a vendor whose history is too short; record the skip once."""
        timeframe = self._request.grid.timeframe
        error = CapabilityError(
            f"{candidate.name} {candidate.too_old(timeframe)}",
            provider=candidate.name,
            symbol=self._request.query.instrument.symbol,
        )
        if candidate.capabilities is not None and candidate.capabilities.begins_ms is None:
            error.begins_ms = candidate.servable(span, timeframe, self._series.now_ms()).start
        if not any(a.error and a.error.args == error.args for a in self._journal.attempts):
            self._note(VendorReply(candidate.name, span, error=error))
        return error


def _out_of_time(segment: _Segment) -> list[DataError]:
    """Return the timeout error, in a list, if the call's time is up and many spans are left to record.

    Otherwise the list is empty: if only a few spans are left, they are recorded anyway.
    """
    try:
        if len(segment.spans) > WORTH_STOPPING:
            check_time("what no vendor has")
    except ProviderTimeoutError as over:
        return [over]
    return []


def _has_none(coverage: Coverage, candidate: Candidate, span: Span, now_ms: int) -> bool:
    """Return whether a candidate's report that ``span`` has no bars is still valid.

    If it is, the span is requested only because another vendor has not been queried yet.
    """
    entries = coverage.within(span)
    empty = [
        entry.span
        for entry in entries
        if (entry.state == "empty" or entry.is_of_rejected_row)
        and entry.is_valid(now_ms)
        and (entry.reason == CLOSED or candidate.has_answered(entry))
    ]
    return not subtract([span], empty) and any(entry.reason != CLOSED for entry in entries)


def _without_rows(classified: ClassifiedAnswer) -> list[Span]:
    """Return the parts of an answer's span for which no row was received at all."""
    row_at = classified.closed.stamps.searchsorted
    return [span for span in classified.spans if row_at(span.start) == row_at(span.end)]


def _report_bad_answer(candidate: Candidate, query: FetchQuery, error: DataError) -> None:
    """Report to the vendor's circuit breaker that its answer failed this library's checks.

    An answer is not reported if it merely conflicts with another vendor's adjacent bars, because
    either vendor may be wrong.
    """
    report = getattr(candidate.downloader, "blame", None)
    if candidate.capabilities is None or report is None:
        return
    is_ours = getattr(error, "by_caller", False)
    if not (is_ours or isinstance(error, (SpliceConflictError, NoDataError))):
        report(query, error)


def _next_chunk(
    candidate: Candidate, request: LaneRequest, segment: _Segment, rows: int
) -> tuple[Span, int]:
    """Return the next chunk of the first group, and the chunk length.

    A long span is split so that received data is committed from time to time. While a vendor has no
    bars (before a listing), the chunks grow, so that years without bars cost only a few requests.
    """
    caps, step_ms = candidate.capabilities, request.grid.timeframe.step_ms
    span = segment.groups[0].whole
    base = caps.page_bars * PAGES_A_COMMIT * step_ms if caps and caps.page_bars and step_ms else 0
    is_growing = segment.chunk_ms and rows == segment.rows
    size = segment.chunk_ms * _CHUNK_GROWTH if is_growing else base
    end = min(span.start + size, span.end) if size else span.end
    if caps and size and size == base:
        end = chunk_end(span, size, request.grid.timeframe, caps, request.query.now_ms)
    return Span(span.start, end), size

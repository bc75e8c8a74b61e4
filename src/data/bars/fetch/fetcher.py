"""Walk the candidates for each missing segment until one of them has it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...clock import Clock
from ...errors import (
    FAILOVER_ERRORS,
    CapabilityError,
    DataError,
    NoDataError,
    QualityError,
    SpliceConflictError,
)
from ...model.bars import BarTable
from ...model.capabilities import Fetched, FetchQuery
from ...model.coverage import Coverage
from ...model.instant import iso
from ...model.rules import ValidationRules
from ...model.span import Span, coalesce, subtract
from ...net.deadline import run_part
from ...net.send_records import reporting
from ...observability.logs import level_of
from ...prices.quality import check
from ...vendors.archives import chunk_end
from ..ingest.ingest import AnswerIngester, check_kind, grid_of
from ..ingest.sorted_answer import ClassifiedAnswer
from ..selection.candidates import Candidate
from ..validity import BEFORE_FIRST, CLOSED, NO_BAR, Expiry, is_proof
from .absence import AbsenceRecorder
from .actions import ActionFetcher
from .attempt import VendorReply, ask
from .plan import in_few_requests
from .revisions import FetchWindow, Revisions
from .splice import Neighbours, widened
from .state import FetchState, StoreWriter

log = logging.getLogger("onetape.routing")

# What came since the last commit is lost where a process is killed or a call's time ends; a commit
# costs as much as the work on a page.
_PAGES_A_COMMIT = 4
# So much longer is each chunk while nothing comes.
_GROWTH = 8


class _Parts(NamedTuple):
    """Ascending stretches that are asked for at once; nothing else is lacking before ``until``."""

    spans: Sequence[Span]
    until: int

    @property
    def whole(self) -> Span:
        """The span from the first stretch to the end of the last one, what lies between included."""
        return Span(self.spans[0].start, self.spans[-1].end)

    def within(self, chunk: Span) -> _Parts:
        """Return the parts of the stretches in ``chunk``, up to the first stretch behind it."""
        spans = [part for span in self.spans if not (part := span.clip(chunk)).is_empty]
        later = [span.start for span in self.spans if span.start >= chunk.end]
        return _Parts(spans, later[0] if later else self.until)


@dataclass(frozen=True)
class _Segment:
    """An entry of the work list: stretches, and the candidate whose turn it is.

    Attributes:
        spans: ascending stretches that are lacking.
        position: of the candidate among those of the lane; behind the last one nobody is left.
        outcomes: what the candidates before it came to.
    """

    spans: tuple[Span, ...]
    position: int = 0
    outcomes: tuple[DataError, ...] = ()

    def passed_on(self, spans: Iterable[Span], outcome: DataError) -> _Segment:
        """Return the entry of ``spans`` for the next candidate."""
        return _Segment(tuple(spans), self.position + 1, (*self.outcomes, outcome))

    def asked_alone(self, span: Span) -> _Segment:
        """Return the entry of ``span`` for the same candidate, as if not asked yet."""
        return _Segment((span,), self.position, self.outcomes)


@dataclass(frozen=True)
class _Requests(_Segment):
    """Stretches in the order in which their candidate is asked for them.

    Attributes:
        groups: what is asked for at once, ascending.
        chunk_ms: how long the last chunk of the first group was; 0 before its first one.
        rows: how many rows had come before that one.
    """

    groups: tuple[_Parts, ...] = ()
    chunk_ms: int = 0
    rows: int = 0

    @classmethod
    def of(cls, segment: _Segment, groups: Sequence[Sequence[Span]]) -> _Requests:
        """Return the requests for a segment's candidate, each of a group of stretches."""
        begins = [group[0].start for group in groups[1:]]
        parts = [_Parts(group, until) for group, until in zip(groups, [*begins, 0], strict=False)]
        return cls._with(segment, parts)

    @classmethod
    def _with(
        cls, segment: _Segment, groups: Sequence[_Parts], chunk_ms: int = 0, rows: int = 0
    ) -> _Requests:
        spans = tuple(span for group in groups for span in group.spans)
        return cls(spans, segment.position, segment.outcomes, tuple(groups), chunk_ms, rows)

    def behind(self, chunk: Span, chunk_ms: int, rows: int) -> _Requests:
        """Return what is left once ``chunk`` of the first group was asked for."""
        first, *others = self.groups
        rest = first.within(Span(chunk.end, first.whole.end))
        if not rest.spans:
            return self._with(self, others)
        return self._with(self, [rest, *others], chunk_ms, rows)


class Fetcher:
    """Fetches missing segments of one series after another. Thread-safe: it keeps no state."""

    def __init__(
        self,
        writer: StoreWriter,
        clock: Clock,
        expiry: Expiry,
        checks: ValidationRules,
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._expiry = expiry
        self._neighbours = Neighbours(writer)
        self._revisions = Revisions(writer, expiry)
        self._ingester = AnswerIngester(writer, expiry, checks)
        self._action_fetcher = ActionFetcher(writer, clock)
        self._absence = AbsenceRecorder(writer, expiry)

    def forming_bar(self, work: FetchState, span: Span) -> None:
        """Ask for the running bar in ``span``; it is kept in ``work`` and never stored."""
        for candidate in work.lane.candidates:
            if candidate.name in work.out:
                continue
            sides = self._neighbours.beside(work, candidate, span)
            reply = ask(
                self._clock,
                candidate.name,
                span,
                self._forming,
                work,
                candidate,
                FetchWindow(span, sides),
                beside=work.beside,
            )
            if reply.value is None:
                self._note(work, reply)
                continue
            fetched, rows = reply.value
            self._ingester.note_forming(work, fetched, rows)
            if fetched.requests:
                work.beside.append(reply.attempt("the running bar", requests=fetched.requests))
            return

    def _forming(
        self, work: FetchState, candidate: Candidate, window: FetchWindow
    ) -> tuple[Fetched, BarTable]:
        """Ask one candidate for the running bar.

        Raises:
            ProviderError, ConfigError: it did not answer, or its answer does not fit.
        """
        question = self._question(work, candidate, window)
        with reporting(candidate.account_name):
            fetched = self._fetch(work, candidate, question)
            fetched = self._ingester.fitted(work, fetched, window.span, window.sides)
        now, grid = self._writer.now_ms(work), grid_of(work, fetched)
        step = work.grid.timeframe
        checked = check(fetched.table, window.span, timeframe=step, now_ms=now, grid=grid)
        return fetched, checked.good

    def _question(self, work: FetchState, candidate: Candidate, window: FetchWindow) -> FetchQuery:
        """Return what to ask for: what is lacking, and what is compared with it."""
        now, timeframe = self._writer.now_ms(work), work.grid.timeframe
        reach = candidate.servable(widened(window.stored, window.sides), timeframe, now)
        instrument, insist = work.query.instrument, work.query.refresh
        return FetchQuery(instrument, timeframe, reach, now, insist=insist)

    def _fetch(self, work: FetchState, candidate: Candidate, question: FetchQuery) -> Fetched:
        """Ask ours by its machinery, and anything else by its ``get_ohlcv``.

        Raises:
            ProviderError, ConfigError: it did not answer bars.
        """
        self._action_fetcher.check(work, candidate, question.span)
        try:
            return run_part(self._clock, work.has_others(candidate), candidate.fetch, question)
        finally:
            work.end_phase()

    def fill(self, work: FetchState, lacking: Sequence[Span]) -> None:
        """Ask the candidates in order for what is lacking, and commit what comes.

        What one of them leaves goes to the next before anything behind it is asked for: how long the
        next chunk is depends on the rows that came meanwhile, and neighbours are compared with what
        is stored by then. What no vendor has is recorded as such, or ends in ``work.unfilled``.

        Args:
            work: the state of the request.
            lacking: ascending stretches.
        """
        todo = [_Segment(tuple(lacking))]
        while todo:
            segment = todo.pop()
            if not segment.spans:
                continue
            if segment.position == len(work.lane.candidates):
                self._absence.record(work, segment.spans, segment.outcomes)
                continue
            candidate = work.lane.candidates[segment.position]
            if candidate.name in work.out:
                following = [segment.passed_on(segment.spans, work.out[candidate.name])]
            elif isinstance(segment, _Requests):
                following = self._ask_next(work, candidate, segment)
            else:
                following = self._split(work, candidate, segment)
            todo += reversed(following)

    def _split(self, work: FetchState, candidate: Candidate, segment: _Segment) -> list[_Segment]:
        """Return what a candidate need not be asked for, and what it is asked for."""
        coverage = Coverage() if work.query.refresh else self._writer.coverage(work)
        none = [span for span in segment.spans if self._has_none(work, coverage, candidate, span)]
        now, timeframe = self._writer.now_ms(work), work.grid.timeframe
        wanted = [span for span in segment.spans if span not in none]
        servable = [candidate.servable(span, timeframe, now) for span in wanted]
        deep = [
            segment.passed_on([rest], self._too_deep(work, candidate, rest))
            for rest in subtract(wanted, servable)
        ]
        servable = [span for span in servable if not span.is_empty]
        groups = in_few_requests(servable, candidate.capabilities, timeframe)
        nothing = NoDataError(NO_BAR, provider=candidate.name)
        return [segment.passed_on(none, nothing), *deep, _Requests.of(segment, groups)]

    def _ask_next(
        self, work: FetchState, candidate: Candidate, segment: _Requests
    ) -> list[_Segment]:
        """Ask a candidate for the next chunk of its first request; return what is left to ask."""
        rows, group = work.rows, segment.groups[0]
        chunk, chunk_ms = _next_chunk(candidate, work, segment)
        outcome, lacking, between = self._try(
            work, candidate, group.within(chunk), segment.outcomes
        )
        # The calendar expects nothing, and one vendor says the same: no other is asked.
        is_none = isinstance(outcome, NoDataError)
        closed = [span for span in lacking if is_none and not len(work.grid.opens(span))]
        left = [span for span in lacking if span not in closed]
        following = segment.passed_on(left, outcome)
        if error := work.out.get(candidate.name):
            # The rest of this request goes on with it, as one stretch; later ones follow alone.
            rest = group.within(Span(chunk.end, group.whole.end)).spans
            following = segment.passed_on(coalesce([*left, *rest]), error)
            chunk = group.whole
        return [
            *map(segment.asked_alone, between),
            _Segment(tuple(closed), len(work.lane.candidates), (outcome,)),
            following,
            segment.behind(chunk, chunk_ms, rows),
        ]

    def _has_none(
        self, work: FetchState, coverage: Coverage, candidate: Candidate, segment: Span
    ) -> bool:
        """Tell whether it still stands that a candidate has nothing in ``segment``.

        It is asked for then because another vendor has not been.
        """
        now, parts = self._writer.now_ms(work), coverage.within(segment)
        empty = [
            part.span
            for part in parts
            if part.state == "empty"
            and part.stands(now)
            and (part.reason == CLOSED or candidate.has_answered(part))
            and (part.reason != BEFORE_FIRST or is_proof(part))
        ]
        return not subtract([segment], empty) and any(part.reason != CLOSED for part in parts)

    def _try(
        self, work: FetchState, candidate: Candidate, parts: _Parts, before: Sequence[DataError]
    ) -> tuple[DataError, list[Span], list[Span]]:
        """Ask one candidate for one chunk, of which ``parts`` are lacking.

        Returns:
            Why it lacks anything; what is lacking; and what lay between two pages of its answer, for
            which it is asked again alone.
        """
        span, beside = parts.whole, work.beside
        taken = self._taken
        reply = ask(self._clock, candidate.name, span, taken, work, candidate, parts, beside=beside)
        if reply.value is None:
            self._note(work, reply)
            assert reply.error is not None
            return reply.error, list(parts.spans), []
        fetched, answer = reply.value
        rows = len(answer.closed)
        work.attempts.append(reply.attempt(fetched.way, rows, fetched.requests))
        # No fallback: vendors that do not serve such bars at all, or do not go back so far.
        failed = [e for e in before if not isinstance(e, CapabilityError)]
        if failed and rows:
            others = ", ".join(dict.fromkeys(e.provider or "another vendor" for e in failed))
            log.log(
                max(map(level_of, failed)),
                "fallback: %s bars of %s from %s come from %s, %s could not supply them",
                rows,
                work.query,
                iso(span.start),
                candidate.name,
                others,
            )
        nothing = NoDataError(NO_BAR, provider=candidate.name)
        nothing.server_now_ms = fetched.server_now_ms if fetched.dated else None
        between = [
            hole
            for hole in answer.holes
            if hole != span and any(hole.overlaps(seam) for seam in fetched.seams)
        ]
        lacking = answer.lacking
        if answer.parts:
            # Of these another vendor has said that it lacks bars: no answer is none, also of a vendor
            # whose bars come where there is a trade.
            lacking = coalesce([*lacking, *_without_rows(answer)])
        return nothing, subtract(lacking, between), between

    def _taken(
        self, work: FetchState, candidate: Candidate, parts: _Parts
    ) -> tuple[Fetched, ClassifiedAnswer]:
        """Ask one candidate for one chunk, and store what is good of its answer.

        Raises:
            ProviderError, ConfigError: it did not answer, or its answer is not believed.
        """
        span = parts.whole
        sides = self._neighbours.beside(work, candidate, span)
        if len(parts.spans) > 1:
            window = FetchWindow(span, sides, parts=tuple(parts.spans), until=parts.until)
        else:
            window = self._revisions.window(work, candidate, span, sides)
        question, kind = self._question(work, candidate, window), self._writer.view(work).kind
        with reporting(candidate.account_name) as answers:
            fetched = self._fetch(work, candidate, question)
            if self._ingester.drop_outdated(work, fetched):
                kind = self._writer.view(work).kind
            try:
                check_kind(kind, work, fetched)
                taken = self._ingester.take(work, candidate, fetched, window)
            except FAILOVER_ERRORS as error:
                _blame(candidate, question, error)
                raise
            if taken.refusal:
                answers.blame(QualityError(taken.refusal, provider=candidate.name))
            return fetched, taken

    def _note(self, work: FetchState, reply: VendorReply[Any]) -> None:
        """Note a failed attempt."""
        work.note(reply.attempt())
        reply.log_failure(work.query)

    def _too_deep(self, work: FetchState, candidate: Candidate, span: Span) -> CapabilityError:
        """Note once that a vendor does not go back so far; it was not asked."""
        depth = candidate.capabilities.depth_days if candidate.capabilities else {}
        days = depth.get(work.grid.timeframe.label)
        error = CapabilityError(
            f"{candidate.name} serves {work.grid.timeframe} bars only {days} days back",
            provider=candidate.name,
            symbol=work.query.instrument.symbol,
        )
        if not any(a.error and a.error.args == error.args for a in work.attempts):
            self._note(work, VendorReply(candidate.name, span, error=error))
        return error


def _without_rows(answer: ClassifiedAnswer) -> list[Span]:
    """Return the parts of which no row came at all."""
    stamps = answer.closed.stamps
    return [s for s in answer.spans if stamps.searchsorted(s.start) == stamps.searchsorted(s.end)]


def _blame(candidate: Candidate, question: FetchQuery, error: DataError) -> None:
    """Let the vendor's circuit know that what it answered did not pass our checks.

    Not where it does not fit beside another vendor's bars: which of the two is wrong is open.
    """
    blame = getattr(candidate.downloader, "blame", None)
    if candidate.capabilities is None or blame is None:
        return
    if not isinstance(error, (SpliceConflictError, NoDataError)):
        blame(question, error)


def _next_chunk(candidate: Candidate, work: FetchState, requests: _Requests) -> tuple[Span, int]:
    """Return the next chunk of the first request, and how long chunks are now.

    A long stretch is cut so that what came is committed now and then. While a vendor has nothing
    (before a listing) the chunks grow, so that years of nothing cost few requests.
    """
    caps, step = candidate.capabilities, work.grid.timeframe.step_ms
    span = requests.groups[0].whole
    usual = caps.page_bars * _PAGES_A_COMMIT * step if caps and caps.page_bars and step else 0
    is_growing = requests.chunk_ms and work.rows == requests.rows
    size = requests.chunk_ms * _GROWTH if is_growing else usual
    end = min(span.start + size, span.end) if size else span.end
    if caps and size and size == usual:
        end = chunk_end(span, size, work.grid.timeframe, caps, work.query.now_ms)
    return Span(span.start, end), size

"""Walk the candidates for each missing segment until one of them has it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
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

    def fill(
        self,
        work: FetchState,
        lacking: Sequence[Span],
        position: int = 0,
        outcomes: tuple[DataError, ...] = (),
    ) -> None:
        """Ask the candidates from ``position`` on for what is lacking, and commit what comes.

        What no vendor has is recorded as such, or ends in ``work.unfilled``.

        Args:
            work: the state of the request.
            lacking: ascending stretches.
            position: the first candidate to be asked.
            outcomes: what the candidates before it came to.
        """
        if not lacking:
            return
        if position == len(work.lane.candidates):
            self._absence.record(work, lacking, outcomes)
            return
        candidate = work.lane.candidates[position]
        if candidate.name in work.out:
            self.fill(work, lacking, position + 1, (*outcomes, work.out[candidate.name]))
            return
        parts = Coverage() if work.query.refresh else self._writer.coverage(work)
        none = [span for span in lacking if self._has_none(work, parts, candidate, span)]
        nothing = NoDataError(NO_BAR, provider=candidate.name)
        self.fill(work, none, position + 1, (*outcomes, nothing))
        now, timeframe = self._writer.now_ms(work), work.grid.timeframe
        wanted = [span for span in lacking if span not in none]
        servable = [candidate.servable(span, timeframe, now) for span in wanted]
        for rest in subtract(wanted, servable):
            why = self._too_deep(work, candidate, rest)
            self.fill(work, [rest], position + 1, (*outcomes, why))
        servable = [span for span in servable if not span.is_empty]
        groups = in_few_requests(servable, candidate.capabilities, timeframe)
        while groups:
            group = groups.pop(0)
            until = groups[0][0].start if groups else 0
            self._ask_together(work, _Parts(group, until), position, outcomes)
            if candidate.name in work.out:
                left = [span for group in groups for span in group]
                self.fill(work, left, position + 1, (*outcomes, work.out[candidate.name]))
                return

    def _ask_together(
        self, work: FetchState, parts: _Parts, position: int, outcomes: tuple[DataError, ...]
    ) -> None:
        """Ask one candidate for stretches with what lies between them, chunk by chunk."""
        candidate, whole = work.lane.candidates[position], parts.whole
        for chunk in _chunks(whole, candidate, work):
            here = parts.within(chunk)
            if not here.spans:
                continue
            outcome, lacking, between = self._try(work, candidate, here, outcomes)
            so_far = (*outcomes, outcome)
            for hole in between:
                self.fill(work, [hole], position, outcomes)
            if candidate.name in work.out:
                left = parts.within(Span(chunk.start, whole.end)).spans
                self.fill(work, left, position + 1, so_far)
                return
            # The calendar expects nothing, and one vendor says the same.
            closed = [s for s in lacking if _is_none(outcome) and not len(work.grid.opens(s))]
            self._absence.record(work, closed, (outcome,))
            self.fill(work, [s for s in lacking if s not in closed], position + 1, so_far)

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


def _is_none(outcome: DataError) -> bool:
    return isinstance(outcome, NoDataError)


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


def _chunks(span: Span, candidate: Candidate, work: FetchState) -> Iterator[Span]:
    """Cut a long stretch so that what came is committed now and then.

    While a vendor has nothing (before a listing) the chunks grow, so that years of nothing cost
    few requests.
    """
    caps, step = candidate.capabilities, work.grid.timeframe.step_ms
    usual = caps.page_bars * _PAGES_A_COMMIT * step if caps and caps.page_bars and step else 0
    cursor, size = span.start, usual
    while cursor < span.end:
        rows_before = work.rows
        end = min(cursor + size, span.end) if size else span.end
        if caps and size and size == usual:
            rest = Span(cursor, span.end)
            end = chunk_end(rest, size, work.grid.timeframe, caps, work.query.now_ms)
        yield Span(cursor, end)
        cursor = end
        size = size * _GROWTH if work.rows == rows_before else usual

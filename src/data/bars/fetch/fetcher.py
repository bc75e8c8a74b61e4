"""Walk the candidates for each missing segment until somebody has it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import NamedTuple

from ...cache.store import BarStore, Commit
from ...clock import Clock
from ...errors import (
    FAILOVER_ERRORS,
    Attempt,
    CapabilityError,
    DataError,
    NoDataError,
    QualityError,
    SpliceConflictError,
    UnsupportedError,
)
from ...model.capabilities import Fetched, FetchQuery
from ...model.coverage import Coverage, Covered
from ...model.instant import DAY_MS, iso
from ...model.kind import Basis
from ...model.rules import ValidationRules
from ...model.span import Span, coalesce, subtract
from ...net.answers import judged
from ...net.deadline import run_part
from ...net.one_call import current_call
from ...prices.quality import check
from ...vendors.archives import chunk_end
from ..ingest.classify import ClassifiedAnswer
from ..ingest.commit import CommitContext
from ..ingest.ingest import AnswerIngester, grid_of
from ..ingest.writer import StoreWriter
from ..selection.candidate import Candidate
from ..validity import BEFORE_FIRST, CLOSED, LOST, NO_BAR, UNVOUCHED_MS, Expiry, is_proof
from .actions import ActionFetcher
from .cost import in_few_requests
from .neighbours import Neighbours, widened
from .revisions import FetchWindow, Revisions
from .state import FetchState, Unfilled, is_outage

log = logging.getLogger("onetape.routing")

_PAGES_A_COMMIT = 20
# Of a call with a time of its own: at its end what came since the last commit is lost.
_PAGES_IN_A_TIME = 4


class _Parts(NamedTuple):
    """Ascending stretches that are asked for at once; nothing else is lacking before ``until``."""

    spans: Sequence[Span]
    until: int

    @property
    def whole(self) -> Span:
        return Span(self.spans[0].start, self.spans[-1].end)

    def within(self, chunk: Span) -> _Parts:
        spans = [part for span in self.spans if not (part := span.clip(chunk)).is_empty]
        later = [span.start for span in self.spans if span.start >= chunk.end]
        return _Parts(spans, later[0] if later else self.until)


class Fetcher:
    """Fetches missing segments of one series after another. Thread-safe: it keeps no state."""

    def __init__(
        self,
        store: BarStore,
        writer: StoreWriter,
        clock: Clock,
        expiry: Expiry,
        checks: ValidationRules,
    ) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock
        self._expiry = expiry
        self._neighbours = Neighbours(store, writer)
        self._revisions = Revisions(store, writer, clock, expiry)
        self._ingester = AnswerIngester(store, writer, clock, expiry, checks)
        self._action_fetcher = ActionFetcher(writer, clock)

    def fill(self, work: FetchState, segments: Sequence[Span]) -> None:
        """Ask for each segment and commit what comes; what nobody has ends in ``unfilled``."""
        self._ask(work, segments, 0, ())

    def forming_bar(self, work: FetchState, span: Span) -> None:
        """Ask for the running bar in ``span``; it is kept in ``work`` and never stored."""
        for candidate in work.lane.candidates:
            if candidate.name in work.out:
                continue
            sides = self._neighbours.beside(work, candidate, span)
            started, sent = self._clock.monotonic(), _sent(work)
            try:
                asked = self._question(work, candidate, FetchWindow(span, sides))
                with judged(candidate.account_name):
                    fetched = self._fetch(work, candidate, asked)
                    fetched = self._ingester.fitted(work, fetched, span, sides)
                checked = check(
                    fetched.table,
                    span,
                    timeframe=work.grid.timeframe,
                    now_ms=self._clock.now_ms(),
                    grid=grid_of(work, fetched),
                )
            except FAILOVER_ERRORS as error:
                took = self._clock.monotonic() - started, _sent(work) - sent
                self._note(work, candidate, span, error, took)
                continue
            self._ingester.note_forming(work, fetched, checked.good)
            if fetched.requests:
                work.beside.append(
                    Attempt(
                        candidate.name,
                        "ok",
                        "the running bar",
                        self._clock.monotonic() - started,
                        span.start,
                        span.end,
                        requests=fetched.requests,
                    )
                )
            return

    def _question(self, work: FetchState, candidate: Candidate, window: FetchWindow) -> FetchQuery:
        """Return what to ask for: what is lacking, and what is compared with it."""
        now, timeframe = self._clock.now_ms(), work.grid.timeframe
        reach = candidate.servable(widened(window.stored, window.sides), timeframe, now)
        instrument, insist = work.query.instrument, work.query.refresh
        return FetchQuery(instrument, timeframe, reach, now, insist=insist)

    def _fetch(self, work: FetchState, candidate: Candidate, asked: FetchQuery) -> Fetched:
        """Ask ours by its machinery, and anything else by its ``get_ohlcv``.

        Raises:
            ProviderError, ConfigError: it did not answer bars.
        """
        self._action_fetcher.check(work, candidate, asked.span)
        return run_part(self._clock, work.has_others(candidate), candidate.fetch, asked)

    def _ask(
        self,
        work: FetchState,
        lacking: Sequence[Span],
        position: int,
        outcomes: tuple[DataError, ...],
    ) -> None:
        """Ask the candidates from ``position`` on for what is lacking, which is ascending."""
        if not lacking:
            return
        if position == len(work.lane.candidates):
            self._give_up(work, lacking, outcomes)
            return
        candidate = work.lane.candidates[position]
        if candidate.name in work.out:
            self._ask(work, lacking, position + 1, (*outcomes, work.out[candidate.name]))
            return
        none = [span for span in lacking if self._has_none(work, candidate, span)]
        nothing = NoDataError(NO_BAR, provider=candidate.name)
        self._ask(work, none, position + 1, (*outcomes, nothing))
        now, timeframe = self._clock.now_ms(), work.grid.timeframe
        wanted = [span for span in lacking if span not in none]
        servable = [candidate.servable(span, timeframe, now) for span in wanted]
        for rest in subtract(wanted, servable):
            why = self._too_deep(work, candidate, rest)
            self._ask(work, [rest], position + 1, (*outcomes, why))
        servable = [span for span in servable if not span.is_empty]
        groups = in_few_requests(servable, candidate.capabilities, timeframe)
        while groups:
            group = groups.pop(0)
            until = groups[0][0].start if groups else 0
            self._ask_together(work, _Parts(group, until), position, outcomes)
            if candidate.name in work.out:
                left = [span for group in groups for span in group]
                self._ask(work, left, position + 1, (*outcomes, work.out[candidate.name]))
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
            said = (*outcomes, outcome)
            for hole in between:
                self._ask(work, [hole], position, outcomes)
            if candidate.name in work.out:
                left = parts.within(Span(chunk.start, whole.end)).spans
                self._ask(work, left, position + 1, said)
                return
            # The calendar expects nothing, and one vendor says the same.
            closed = [s for s in lacking if _is_none(outcome) and not len(work.grid.opens(s))]
            self._give_up(work, closed, (outcome,))
            self._ask(work, [s for s in lacking if s not in closed], position + 1, said)

    def _has_none(self, work: FetchState, candidate: Candidate, segment: Span) -> bool:
        """Tell whether a candidate's word that there is nothing in ``segment`` still stands.

        It is asked for then because another vendor has not been.
        """
        if work.query.refresh:
            return False
        now, known = self._clock.now_ms(), self._writer.coverage(work).within(segment)
        said = [
            part.span
            for part in known
            if part.state == "empty"
            and part.stands(now)
            and (part.reason == CLOSED or candidate.has_answered(part))
            and (part.reason != BEFORE_FIRST or is_proof(part))
        ]
        return not subtract([segment], said) and any(part.reason != CLOSED for part in known)

    def _try(
        self, work: FetchState, candidate: Candidate, parts: _Parts, before: Sequence[DataError]
    ) -> tuple[DataError, list[Span], list[Span]]:
        """Ask one candidate for one chunk, of which ``parts`` are lacking.

        Returns:
            Why it lacks anything; what is lacking; and what lay between two pages of its answer, for
            which it is asked again alone.
        """
        started, sent = self._clock.monotonic(), _sent(work)
        span = parts.whole
        try:
            fetched, found = self._taken(work, candidate, parts)
        except FAILOVER_ERRORS as error:
            took = self._clock.monotonic() - started, _sent(work) - sent
            self._note(work, candidate, span, error, took)
            return error, list(parts.spans), []
        seconds = self._clock.monotonic() - started
        rows = len(found.closed)
        work.attempts.append(
            Attempt(
                candidate.name,
                "ok",
                fetched.way,
                seconds,
                span.start,
                span.end,
                rows,
                fetched.requests,
            )
        )
        # No fallback: those who do not serve such bars at all, or do not go back so far.
        failed = [e for e in before if not isinstance(e, CapabilityError)]
        if failed and rows:
            others = ", ".join(dict.fromkeys(e.provider or "another vendor" for e in failed))
            log.warning(
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
            for hole in found.holes
            if hole != span and any(hole.overlaps(seam) for seam in fetched.seams)
        ]
        lacking = found.lacking
        if found.parts:
            # Of these another vendor has said that it lacks bars: no answer is none, also of one
            # whose bars come where there is a trade.
            lacking = coalesce([*lacking, *_without_rows(found)])
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
        asked = self._question(work, candidate, window)
        with judged(candidate.account_name) as answers:
            fetched = self._fetch(work, candidate, asked)
            try:
                taken = self._ingester.take(work, candidate, fetched, window)
            except FAILOVER_ERRORS as error:
                _blame(candidate, asked, error)
                raise
            if taken.refusal:
                answers.blame(QualityError(taken.refusal, provider=candidate.name))
            return fetched, taken

    def _give_up(
        self, work: FetchState, lacking: Sequence[Span], outcomes: tuple[DataError, ...]
    ) -> None:
        """Remember what everybody says is empty; note what somebody failed at."""
        if not lacking:
            return
        failures = [e for e in outcomes if not isinstance(e, NoDataError)]
        if failures:
            told = dict.fromkeys(f"{e.provider or 'vendor'}: {e}" for e in failures)
            is_failure = not all(isinstance(e, UnsupportedError) for e in failures)
            reason, is_out = "; ".join(told), is_outage(outcomes)
            work.unfilled += (Unfilled(span, reason, is_failure, is_out) for span in lacking)
            self._note_refused(work, lacking, failures)
            return
        times = [e.server_now_ms for e in outcomes if isinstance(e, NoDataError)]
        dates = [at for at in times if at is not None]
        now = min([self._clock.now_ms(), *dates])
        names = {e.provider or "" for e in outcomes} - {""}
        coverage = self._writer.coverage(work).opened(Span(lacking[0].start, lacking[-1].end))
        marks = [mark for span in lacking for mark in self._none(work, span, coverage, names, now)]
        if not dates:
            marks = [_unvouched(mark, now) for mark in marks]
        if marks:
            self._writer.commit(work, Commit(marks=tuple(marks)))

    def _none(
        self, work: FetchState, segment: Span, coverage: Coverage, names: AbstractSet[str], now: int
    ) -> Iterator[Covered]:
        """Yield what it means that all of ``names`` have nothing in ``segment``."""
        answered = Span(segment.start, self._settled_until(work, segment, now))
        known = coverage.within(answered)
        vendor = ",".join(sorted(names))
        standing = [c for c in known if c.stands(now) and c.state != "provisional"]
        # What one of them said a moment ago is said by all of them now.
        for part in standing:
            if part.reason.startswith(NO_BAR) and set(part.vendor.split(",")) < names:
                yield replace(part, vendor=vendor)
        for span in subtract([answered], (part.span for part in standing)):
            yield from self._nothing(work, span, known.within(span), vendor, now)

    def _note_refused(
        self, work: FetchState, lacking: Sequence[Span], failures: Sequence[DataError]
    ) -> None:
        """Write down that bars which one vendor lacks were had from others, and did not fit."""
        refused = [e for e in failures if isinstance(e, SpliceConflictError)]
        said = [str(e.args[0]) for e in refused]
        names = {e.provider or "" for e in refused} - {""}
        coverage = self._writer.coverage(work) if said else Coverage()
        known = [part for span in lacking for part in coverage.within(span)]
        marks = tuple(
            replace(
                part,
                # They have been asked, too.
                vendor=",".join(sorted({*part.vendor.split(","), *names} - {""})),
                reason="; ".join([NO_BAR, *dict.fromkeys(said)]),
            )
            for part in known
            if part.state == "empty" and part.reason.startswith(NO_BAR)
        )
        if marks:
            self._writer.commit(work, Commit(marks=marks))

    def _nothing(
        self, work: FetchState, span: Span, known: Coverage, vendor: str, now: int
    ) -> Iterator[Covered]:
        """Yield what a "nothing there" means: stored bars stay and are doubted, the rest is empty."""
        terms = CommitContext(work.grid, Basis(), now, self._expiry)
        rows, _ = self._store.read(work.key, span)
        stored = [c.span for c in known if len(rows.within(c.span))]
        for kept in stored:
            expires = terms.expires(kept, work.settle_ms, known)
            yield Covered(kept, "suspect", vendor, fetched_at=now, reason=LOST, expires=expires)
        for empty in subtract([span], stored):
            if len(work.grid.opens(empty)):
                parts = terms.nothings(empty, work.settle_ms, known)
                marks = [(part, NO_BAR, expires) for part, expires in parts]
            else:
                marks = [(empty, CLOSED, now + self._expiry.old_ms)]
            for part, reason, expires in marks:
                yield Covered(part, "empty", vendor, fetched_at=now, reason=reason, expires=expires)

    def _settled_until(self, work: FetchState, segment: Span, now_ms: int) -> int:
        """Return the end of what an empty answer may be believed for: nothing unsettled."""
        stamps = work.grid.opens(segment)
        late = stamps[work.grid.settles(stamps, work.settle_ms) > now_ms] if len(stamps) else stamps
        return int(late[0]) if len(late) else segment.end

    def _note(
        self,
        work: FetchState,
        candidate: Candidate,
        span: Span,
        error: DataError,
        took: tuple[float, int] = (0.0, 0),
    ) -> None:
        """Note a failed attempt that took so many seconds and requests."""
        error.provider = error.provider or candidate.name
        outcome = "empty" if isinstance(error, NoDataError) else type(error).__name__
        seconds, requests = took
        work.note(
            Attempt(
                candidate.name,
                outcome,
                str(error),
                seconds,
                span.start,
                span.end,
                requests=requests,
                error=error,
            )
        )
        is_impossible = isinstance(error, CapabilityError) and not requests
        level = logging.DEBUG if outcome == "empty" or is_impossible else logging.WARNING
        log.log(level, "%s could not supply %s: %s", candidate.name, work.query, error)

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
            self._note(work, candidate, span, error)
        return error


def _is_none(outcome: DataError) -> bool:
    return isinstance(outcome, NoDataError)


def _without_rows(found: ClassifiedAnswer) -> list[Span]:
    """Return the parts of which no row came at all."""
    stamps = found.closed.stamps
    return [s for s in found.spans if stamps.searchsorted(s.start) == stamps.searchsorted(s.end)]


def _unvouched(mark: Covered, now_ms: int) -> Covered:
    """Return a nothing of the last day with a short life: our own clock alone says it is past."""
    if mark.expires is None or mark.span.end <= now_ms - DAY_MS:
        return mark
    return replace(mark, expires=min(mark.expires, now_ms + UNVOUCHED_MS))


def _sent(work: FetchState) -> int:
    """Return how many requests for bars this call has sent; those beside have attempts of theirs."""
    return current_call().requests - sum(attempt.requests for attempt in work.beside)


def _blame(candidate: Candidate, asked: FetchQuery, error: DataError) -> None:
    """Let the vendor's circuit know that what it answered did not pass our checks.

    Not where it does not fit beside another vendor's bars: which of the two is wrong nobody knows.
    """
    blame = getattr(candidate.downloader, "blame", None)
    if candidate.capabilities is None or blame is None:
        return
    if not isinstance(error, (SpliceConflictError, NoDataError)):
        blame(asked, error)


def _chunks(span: Span, candidate: Candidate, work: FetchState) -> Iterator[Span]:
    """Cut a long stretch so that what came is committed now and then.

    While a vendor has nothing (before a listing) the chunks grow, so that years of nothing cost
    few requests.
    """
    caps, step = candidate.capabilities, work.grid.timeframe.step_ms
    pages = _PAGES_A_COMMIT if work.query.timeout_s is None else _PAGES_IN_A_TIME
    size = caps.page_bars * pages * step if caps and caps.page_bars and step else 0
    cursor, usual = span.start, size
    while cursor < span.end:
        rows_before = work.rows
        end = min(cursor + size, span.end) if size else span.end
        if caps and size and size == usual:
            rest = Span(cursor, span.end)
            end = chunk_end(rest, size, work.grid.timeframe, caps, work.query.now_ms)
        yield Span(cursor, end)
        cursor = end
        if work.rows == rows_before:
            size *= 4

"""Walk the candidates for each missing segment until somebody has it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from ..cache.store import BarStore, Commit
from ..clock import Clock
from ..downloader.legacy_fetch import fetch_legacy
from ..errors import (
    Attempt,
    CapabilityError,
    ConfigError,
    DataError,
    NoDataError,
    ProviderError,
)
from ..model.capabilities import Fetched, FetchQuery
from ..model.coverage import Covered
from ..model.rules import ValidationRules
from ..model.span import Span, subtract
from ..policy.quality import check
from .candidates import Candidate
from .storing import CLOSED, NO_BAR, Expiry
from .taking import Taker
from .work import Unfilled, Work

log = logging.getLogger("onetape.routing")

_PAGES_A_COMMIT = 20
_FAILED = (ProviderError, ConfigError)


class Fetcher:
    """Fetches missing segments of one series after another. Thread-safe: it keeps no state."""

    def __init__(
        self, store: BarStore, clock: Clock, expiry: Expiry, checks: ValidationRules
    ) -> None:
        self._store = store
        self._clock = clock
        self._expiry = expiry
        self._taker = Taker(store, clock, expiry, checks)

    def fill(self, work: Work, segments: Sequence[Span]) -> None:
        """Ask for each segment and commit what comes; what nobody has ends in ``unfilled``."""
        for segment in segments:
            self._ask(work, segment, 0, ())

    def forming_bar(self, work: Work, span: Span) -> None:
        """Ask for the running bar in ``span``; it is kept in ``work`` and never stored."""
        for candidate in work.lane.candidates:
            try:
                fetched = self._fetch(candidate, work, span)
                checked = check(fetched.table, span, timeframe=work.grid.timeframe,
                                now_ms=self._clock.now_ms())  # fmt: skip
            except _FAILED as error:
                self._note(work, candidate, span, error, 0.0)
                continue
            work.forming = checked.good
            return

    def _ask(
        self, work: Work, segment: Span, position: int, outcomes: tuple[DataError, ...]
    ) -> None:
        """Ask the candidates from ``position`` on for ``segment``, chunk by chunk."""
        if position == len(work.lane.candidates):
            self._give_up(work, segment, outcomes)
            return
        candidate = work.lane.candidates[position]
        now = self._clock.now_ms()
        servable = candidate.servable(segment, work.grid.timeframe, now)
        if servable.is_empty or candidate.name in work.out:
            why = work.out.get(candidate.name) or _too_deep(candidate, work)
            self._ask(work, segment, position + 1, (*outcomes, why))
            return
        for rest in subtract([segment], [servable]):
            self._ask(work, rest, position + 1, (*outcomes, _too_deep(candidate, work)))
        for chunk, left in _chunks(servable, candidate, work):
            error, lacking = self._try(work, candidate, chunk)
            if error is not None and not isinstance(error, NoDataError):
                self._ask(work, Span(chunk.start, left), position + 1, (*outcomes, error))
                return
            final_say = (*outcomes, error or NoDataError(NO_BAR, provider=candidate.name))
            for span in lacking:
                self._ask(work, span, position + 1, final_say)

    def _try(
        self, work: Work, candidate: Candidate, span: Span
    ) -> tuple[DataError | None, list[Span]]:
        """Ask one candidate for one chunk; return its error, and what is still lacking."""
        started = self._clock.monotonic()
        try:
            fetched = self._fetch(candidate, work, span)
            found = self._taker.take(work, fetched, span)
        except _FAILED as error:
            self._note(work, candidate, span, error, self._clock.monotonic() - started)
            return error, [span]
        seconds = self._clock.monotonic() - started
        rows = len(found.closed)
        work.fetched_rows += rows
        work.attempts.append(
            Attempt(candidate.name, "ok", "", seconds, span.start, span.end, rows, fetched.requests)
        )
        return None, found.lacking

    def _fetch(self, candidate: Candidate, work: Work, span: Span) -> Fetched:
        """Ask ours by its machinery, and anything else by its ``get_ohlcv``."""
        asked = FetchQuery(work.query.instrument, work.grid.timeframe, span, self._clock.now_ms())
        if candidate.capabilities is None:
            return fetch_legacy(candidate.downloader, asked, candidate.name)
        fetched: Fetched = candidate.downloader.fetch(asked)
        return fetched

    def _give_up(self, work: Work, segment: Span, outcomes: tuple[DataError, ...]) -> None:
        """Remember a stretch that everybody says is empty; note one that somebody failed at."""
        failures = [e for e in outcomes if not isinstance(e, NoDataError)]
        if failures:
            reason = "; ".join(f"{e.provider or 'vendor'}: {e}" for e in failures)
            work.unfilled.append(Unfilled(segment, reason))
            return
        now = self._clock.now_ms()
        answered = Span(segment.start, self._settled_until(work, segment, now))
        known = self._store.view(work.key).coverage.within(answered).held(now)
        marks = tuple(
            Covered(span, "empty", fetched_at=now,
                    reason=NO_BAR if len(work.grid.opens(span)) else CLOSED,
                    expires=self._expiry.of(span, now),
                    vendor=",".join(sorted({e.provider or "" for e in outcomes} - {""})))
            for span in subtract([answered], known)
        )  # fmt: skip
        if marks:
            self._store.commit(work.key, Commit(marks=marks))

    def _settled_until(self, work: Work, segment: Span, now_ms: int) -> int:
        """Return the end of what an empty answer may be believed for: nothing unsettled."""
        stamps = work.grid.opens(segment)
        late = stamps[work.grid.settles(stamps, work.settle_ms) > now_ms] if len(stamps) else stamps
        return int(late[0]) if len(late) else segment.end

    def _note(
        self, work: Work, candidate: Candidate, span: Span, error: DataError, seconds: float
    ) -> None:
        error.provider = error.provider or candidate.name
        outcome = "empty" if isinstance(error, NoDataError) else type(error).__name__
        work.note(
            Attempt(candidate.name, outcome, str(error), seconds, span.start, span.end, error=error)
        )
        level = logging.DEBUG if outcome == "empty" else logging.WARNING
        log.log(level, "%s could not supply %s: %s", candidate.name, work.query, error)


def _too_deep(candidate: Candidate, work: Work) -> CapabilityError:
    depth = candidate.capabilities.depth_days if candidate.capabilities else {}
    days = depth.get(work.grid.timeframe.label)
    return CapabilityError(
        f"{candidate.name} serves {work.grid.timeframe} bars only {days} days back",
        provider=candidate.name, symbol=work.query.instrument.symbol,
    )  # fmt: skip


def _chunks(span: Span, candidate: Candidate, work: Work) -> Iterator[tuple[Span, int]]:
    """Cut a long stretch so that what came is committed now and then.

    Yields each chunk with the end of the whole. While a vendor has nothing (before a listing)
    the chunks grow, so that years of nothing cost few requests.
    """
    caps, step = candidate.capabilities, work.grid.timeframe.step_ms
    size = caps.page_bars * _PAGES_A_COMMIT * step if caps and caps.page_bars and step else 0
    cursor = span.start
    while cursor < span.end:
        rows_before = work.fetched_rows
        end = min(cursor + size, span.end) if size else span.end
        yield Span(cursor, end), span.end
        cursor = end
        if work.fetched_rows == rows_before:
            size *= 4

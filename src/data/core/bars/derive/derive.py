"""Answers queries for longer bars with bars built from shorter ones, without storing the result.

Only the shorter bars are stored. A split, a revision or a filled gap therefore affects the longer
bars immediately, and a longer bar is never built from prices in two bases.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ....errors import (
    AllProvidersFailedError,
    Attempt,
    BadRangeError,
    DataError,
    KindMismatchError,
    NoDataError,
    NoProviderError,
    SymbolNotFoundError,
)
from ...calendars.calendar import MarketCalendar, calendar_for, first_unclosed
from ...calendars.grid import BarGrid
from ...model.identity.kind import Kind
from ...model.market.bars import BarTable, among
from ...model.request.query import BarsQuery
from ...model.stored.reasons import Cause
from ...model.time.span import Span, uncovered
from ...model.time.timeframe import Timeframe
from ...prices.conversions import has_known_hours, regular_hours
from ...prices.resample import resample, source_span
from ...registry import is_free
from ...runtime.once import cached_property
from ..answer.answer import Answer, Dependency, Gap
from ..answer.counts import LOOKBACKS, closed_rows, counted
from ..series import is_down
from .result import DerivedAnswer
from .sources import ShorterBars, SourceTimeframes

Excluded = Mapping[str, DataError]
AnswerQuery = Callable[[BarsQuery], Answer]

# No vendor supplied the bars, and none are stored.
NO_ANSWER = (NoProviderError, AllProvidersFailedError)


class FallbackBars(NamedTuple):
    """The bars built because no vendor supplied the requested ones.

    Attributes:
        answer: The built bars; None if none could be built.
        error: Reason why no vendor supplied the requested bars or, if none serves them, the shorter
            ones.
        is_unserved: Whether no vendor serves the requested bars, so that ``answer`` is an answer even
            if it is empty.
    """

    answer: Answer | None
    error: DataError
    is_unserved: bool

    @property
    def is_answer(self) -> bool:
        """Whether the built bars are an answer if there are no stored ones."""
        return self.answer is not None and (bool(len(self.answer.table)) or self.is_unserved)


class Deriver:
    """Answers queries with bars built from shorter ones. Thread-safe: it keeps no state of its own.

    Args:
        shorter: Chooses the shorter bars.
        answer_query: Function that returns bars of exactly the requested timeframe, skipping excluded
            vendors.
        log: Logger for this class.
    """

    def __init__(
        self,
        shorter: SourceTimeframes,
        answer_query: Callable[[BarsQuery, Excluded], Answer],
        log: logging.Logger,
    ) -> None:
        self._shorter, self._answer_query, self._log = shorter, answer_query, log

    def of_days(self, query: BarsQuery, days: Timeframe) -> Answer:
        """Build the answer from daily bars; use longer ones if no daily bars can be used.

        Weekly bars from a vendor lack the same days that its daily bars lack, but do not show this.
        If daily bars are missing, longer ones are therefore used only if some are already stored
        and lack less.

        Raises:
            AllProvidersFailedError: No vendor supplied daily or longer bars, and nothing is stored.
        """
        try:
            answer = self._derive_from(query, self._shorter.of(query, days), {})
        except NO_ANSWER as error:
            try:
                return self._answer_query(query, _errors_if_down(_attempts(error)))
            except NO_ANSWER as second:
                if _lacks_files_alone(error):
                    raise  # there may be a file of longer bars with a fault
                raise error from second
        if is_whole(answer):
            return answer
        try:
            stored = self._answer_query(replace(query, offline=True, refresh=False), {})
        except DataError:
            return answer
        return answer if shortfall(answer) <= shortfall(stored) else self._answer_query(query, {})

    def build_fallback(self, query: BarsQuery, error: DataError) -> FallbackBars:
        """Build the answer to a query that no vendor could answer, as far as possible.

        Args:
            query: Requested bars.
            error: Reason why no vendor supplied them.
        """
        sources = [] if _says_nothing(error) else self._sources(query, _attempts(error))
        is_unserved = isinstance(error, NoProviderError) or _lacks_files_alone(error)
        # If the best ones fail, too, the best stored ones can still help.
        stored_ones = [source for source in sources[1:] if source.view.exists]
        for source in [*sources[:1], *stored_ones[:1]]:
            built = self._build(query, source, _attempts(error))
            if not isinstance(built, DataError):
                return FallbackBars(built, error, is_unserved)
            # If no vendor serves the bars themselves, this is the actual failure.
            if is_unserved and isinstance(built, NO_ANSWER):
                error, is_unserved = built, False
        return FallbackBars(None, error, is_unserved)

    def build_or_none(self, query: BarsQuery, attempts: Sequence[Attempt]) -> Answer | None:
        """Return bars built from shorter ones; None if no shorter bars are available.

        Args:
            query: Requested bars.
            attempts: Earlier queries for bars of exactly this length; vendors that failed in them
                are not queried for shorter bars.
        """
        # A strict query accepts no bars from a substitute, so none are fetched for it.
        source = next(iter(self._sources(query, () if query.strict else attempts)), None)
        if source is None:
            return None
        built = self._build(query, source, attempts)
        return None if isinstance(built, DataError) else built

    def _build(
        self, query: BarsQuery, source: ShorterBars, attempts: Sequence[Attempt]
    ) -> Answer | DataError:
        """Build the answer from ``source`` bars, or return the reason why that is impossible."""
        try:
            return self._derive_from(query, source, _errors_if_down(attempts))
        except (*NO_ANSWER, KindMismatchError) as failure:
            self._log.info("%s could not be built from %s bars: %s", query, source, failure)
            return failure

    def _sources(self, query: BarsQuery, attempts: Sequence[Attempt]) -> list[ShorterBars]:
        """Return the shorter bars that are stored or have a usable vendor, the best ones first."""
        out = {attempt.provider for attempt in attempts if _is_out(attempt)}
        ranked = self._shorter.ranked(query)
        return [s for s in ranked if s.view.exists or {c.name for c in s.vendors} - out]

    def _derive_from(self, query: BarsQuery, source: ShorterBars, excluded: Excluded) -> Answer:
        anchor = source.anchor
        return derived(query, source.timeframe, anchor, lambda q: self._answer_query(q, excluded))


def is_whole(answer: Answer) -> bool:
    """Return whether an answer has no missing bars, and is not a substitute."""
    return not any(shortfall(answer))


def shortfall(answer: Answer) -> tuple[int, bool]:
    """Return the total length (ms) of missing bars, and whether the bars are a substitute.

    The better of two answers is the one with the smaller result.
    """
    gaps_ms = sum(gap.span.end - gap.span.start for gap in answer.gaps if not gap.harmless)
    return gaps_ms, bool(answer.substitute)


def _attempts(error: DataError) -> Sequence[Attempt]:
    return getattr(error, "attempts", ())


def _says_nothing(error: DataError) -> bool:
    """Return whether the error shows that a vendor has no data at all, not even shorter bars."""
    return any(isinstance(attempt.error, NoDataError) for attempt in _attempts(error))


def _errors_if_down(attempts: Sequence[Attempt]) -> dict[str, DataError]:
    """Map each vendor that was down in the attempts to its error; it need not be queried for now."""
    return {
        a.provider: a.error
        for a in attempts
        if a.error is not None and is_down(a.error) and not _is_no_file(a)
    }


def _is_out(attempt: Attempt) -> bool:
    """Return whether the vendor is down or does not know the symbol, so that it has no shorter bars."""
    is_unknown = isinstance(attempt.error, SymbolNotFoundError) and not _is_no_file(attempt)
    return is_unknown or attempt.provider in _errors_if_down([attempt])


def _lacks_files_alone(error: DataError) -> bool:
    attempts = _attempts(error)
    return bool(attempts) and all(_is_no_file(attempt) for attempt in attempts)


def _is_no_file(attempt: Attempt) -> bool:
    """Return whether the attempt failed because a local folder has no file for the timeframe.

    Each timeframe has its own file.
    """
    return is_free(attempt.provider) and isinstance(attempt.error, SymbolNotFoundError)


def derived(
    query: BarsQuery,
    source: Timeframe,
    anchor: str,
    answer_query: AnswerQuery,
    hours: MarketCalendar | None = None,
) -> Answer:
    """Answer ``query`` from ``source`` bars.

    Args:
        query: Requested bars.
        source: Timeframe of the shorter bars; ``core.prices.conversions`` must allow the conversion.
        anchor: Origin of the source bars' time grid, if known; the derived bars have the same
            origin.
        answer_query: Function that returns the source bars, from the store or from vendors.
        hours: Calendar that determines which bars belong together; None means the calendar of the
            instrument. Bars outside its regular hours are then dropped, unless extended hours were
            requested.

    Raises:
        NoProviderError, AllProvidersFailedError: Raised by ``answer_query``.
        KindMismatchError: The source bars include hours that are not in the calendar and cannot be
            dropped.
    """
    derivation = _Derivation(query, source, anchor, answer_query, hours)
    answer = derivation.answer(1)
    if query.bars is None:
        return answer
    factor = 1
    for tries in range(1, LOOKBACKS):
        is_cut_off = not len(answer.table) and any(gap.failed for gap in answer.gaps)
        if closed_rows(answer) >= query.bars or is_cut_off:
            break
        try:
            answer = derivation.again().answer(2**tries)
        except BadRangeError:
            break  # the calendar does not go back far enough for that many bars
        factor = 2**tries
    return counted(answer, query.bars, derivation.start(factor))


@dataclass(frozen=True)
class _Derivation:
    """One answer in progress; see :func:`derived`.

    Attributes:
        is_sure: Whether the anchor is known from an answer rather than guessed.
    """

    query: BarsQuery
    source: Timeframe
    anchor: str
    answer_query: AnswerQuery
    hours: MarketCalendar | None = None
    is_sure: bool = False

    def again(self) -> _Derivation:
        """Return the same derivation for another attempt, without requesting a refresh again."""
        return replace(self, query=replace(self.query, refresh=False))

    def answer(self, factor: int) -> Answer:
        """Build the answer; for a requested number of bars, look back ``factor`` times as far."""
        wanted = self._wanted_span(factor)
        needed = source_span(
            wanted,
            self.query.timeframe,
            self._calendar,
            anchor=self._grid.anchor,
            source=self.source,
        )
        # They are requested even where no bar is expected, because there may be one.
        span = wanted if needed.is_empty else needed
        below = self.answer_query(replace(self.query, timeframe=self.source, span=span, bars=None))
        anchor = below.kind.anchor
        if anchor not in ("", self.anchor) and not self.is_sure:
            # A different vendor answered than expected.
            return replace(self.again(), anchor=anchor, is_sure=True).answer(factor)
        # While the market is closed, the first unclosed bar may be one that has not opened yet.
        is_open = self.query.span.end > min(wanted.end, self.query.now_ms)
        return self._built_from(below, needed, is_open=is_open)

    def start(self, factor: int) -> int:
        """Return the start (UTC ms) of a range with ``factor`` times the requested number of bars."""
        return self._wanted_span(factor).start

    def _wanted_span(self, factor: int) -> Span:
        """Return the requested span; bars that have not closed are included only if requested."""
        query, grid = self.query, self._grid
        cap_ms = first_unclosed(self._calendar, grid.timeframe, query.now_ms, grid.anchor)
        end = min(query.span.end, cap_ms)
        start = query.span.start if query.bars is None else grid.back(end, query.bars * factor)
        return Span(start, query.span.end if query.include_forming or end <= start else end)

    def _built_from(self, below: Answer, needed: Span, *, is_open: bool) -> Answer:
        """Return the answer with bars built from the shorter bars in ``below``.

        With ``is_open``, a bar in the range has not closed, or the range ends in the future.
        """
        ends = [*(entry.span.end for entry in below.coverage), *(g.span.end for g in below.gaps)]
        # Beyond the range that the answer covers, missing bars do not mean that nothing traded.
        span = Span(needed.start, min(needed.end, max(ends, default=needed.start)))
        reported = (gap for gap in below.gaps if not gap.harmless)
        unknown = [*reported, *self._unreported_gaps(below, span)]
        unknown += self._beyond_calendar(below, span)
        source_gaps = sorted(unknown, key=lambda gap: gap.span)
        rows = self._rows(below)
        resampled = resample(
            rows,
            self.source,
            self.query.timeframe,
            self._calendar,
            anchor=self._grid.anchor,
            source_anchor=below.kind.anchor or self.anchor,
            span=span,
            now_ms=self.query.now_ms,
            # The answer identifies the gaps; all other missing bars had no trade.
            dense=False,
            unanswered=[gap.span for gap in source_gaps],
        )
        fold = DerivedAnswer(self.query, self.source, below, resampled, source_gaps, needed.start)
        table, coverage = fold.with_running()
        return replace(
            below,
            query=self.query,
            table=table,
            coverage=coverage,
            gaps=fold.gaps(),
            kind=self._kind(below),
            fetched=fold.fetched(),
            facts=fold.facts(),
            depends_on=_dependency(below, is_open=is_open),
            used=below.used._replace(source=span),
        )

    def _rows(self, below: Answer) -> BarTable:
        """Return the rows within the calendar's hours, from which the bars are built."""
        session = below.kind.session
        if self.hours is not None or self.query.instrument.is_extended:
            return below.table
        if self.source.is_intraday and not has_known_hours(self.source, session, self._calendar):
            raise KindMismatchError(
                f"{self.source} bars with {session} hours cannot be combined",
                symbol=self.query.instrument.symbol,
            )
        if self._cuts(below):
            return regular_hours(below.table, self.source, self._calendar)
        return below.table

    def _kind(self, below: Answer) -> Kind:
        kind = replace(below.kind, anchor=below.kind.anchor and self._grid.anchor)
        return replace(kind, session="regular") if self._cuts(below) else kind

    def _cuts(self, below: Answer) -> bool:
        is_longer = below.kind.session == "extended" and not self.query.instrument.is_extended
        return self.hours is None and self.source.is_intraday and is_longer

    def _beyond_calendar(self, below: Answer, span: Span) -> Iterator[Gap]:
        """Yield the never-requested parts of ``span`` in which the calendar may be incomplete.

        Bars may exist there even if the calendar expects none.
        """
        if self.hours is not None:
            for rest in uncovered(span, [entry.span for entry in below.coverage]):
                yield Gap(rest, "never asked for")

    def _unreported_gaps(self, below: Answer, span: Span) -> Iterator[Gap]:
        """Yield a gap for each bar that an answer in doubt lacks, because such an answer lists no gaps."""
        anchor = below.kind.anchor or self.anchor
        for entry in below.coverage.within(span):
            if Cause.DOUBTFUL in entry.cause:
                expected = self._calendar.opens(self.source, entry.span, anchor)
                for stamp in expected[~among(expected, below.table.stamps)].tolist():
                    yield Gap(Span(stamp, stamp + 1), entry.reason)

    @cached_property
    def _calendar(self) -> MarketCalendar:
        return self.hours or calendar_for(self.query.instrument)

    @cached_property
    def _grid(self) -> BarGrid:
        """The grid of the requested bars; for daily and longer bars, the anchor is ``session``."""
        timeframe, anchor = self.query.timeframe, self.anchor
        return BarGrid(self._calendar, timeframe, anchor if timeframe.is_intraday else "session")


def _dependency(below: Answer, *, is_open: bool) -> Dependency | None:
    """Return the stored data on which the derived bars depend; None if the bars must not be reused.

    If more bars in the range may close (``is_open``), the derived bars are valid only until the next
    bar is due.
    """
    depends_on = below.depends_on
    if depends_on is None or not is_open:
        return depends_on
    due = depends_on.view.next_due
    return None if due is None else depends_on._replace(until_ms=min(depends_on.until_ms, due))

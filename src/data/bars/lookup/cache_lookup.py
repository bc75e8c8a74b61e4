"""Answer from the store where asking cannot change the answer: by comparison alone."""

from __future__ import annotations

from dataclasses import replace

from ...cache.store import BarStore, SeriesView
from ...calendars.calendar import calendar_for, first_unclosed
from ...calendars.gaps import BarGrid
from ...clock import Clock
from ...errors import BadRangeError, CorruptEntryError, KindMismatchError
from ...model.coverage import Coverage
from ...model.query import BarsQuery
from ...model.series import SeriesKey
from ...model.span import Span, gaps, subtract
from ..answer.answer import LOOKBACKS, Answer, as_known, closed_rows, last_of
from ..answer.reader import Outcome, Reader
from ..fetch.lifetimes import lifetime_of
from ..fetch.split_window import may_concern
from ..ingest.commit import AFTER_LAST, fetched_ahead

_NEVER = 1 << 62


class CacheLookup:
    """The short way: no vendor, no HTTP, and no calendar but for a count. Thread-safe; no lock."""

    def __init__(self, store: BarStore, reader: Reader, clock: Clock) -> None:
        self._store = store
        self._reader = reader
        self._clock = clock

    def answer(self, query: BarsQuery) -> Answer | None:
        """Answer from the default (or the pinned vendor's) lane; None where more must be done."""
        if query.refresh or query.include_forming:
            return None
        key = SeriesKey(query.instrument.symbol, query.timeframe, query.pinned)
        view = self._store.view(key)
        if not view.exists:
            return None
        if query.bars is None:
            return self._of_span(query, view, query.span)
        return self._of_count(query, view, query.bars)

    def _of_count(self, query: BarsQuery, view: SeriesView, count: int) -> Answer | None:
        """Answer with the last ``count`` bars up to the end, however far back they reach."""
        calendar = calendar_for(query.instrument)
        grid = BarGrid(calendar, query.timeframe, (view.kind and view.kind.anchor) or "session")
        cap = first_unclosed(calendar, query.timeframe, self._clock.now_ms(), grid.anchor)
        if query.instrument.asset_class == "stock":
            self._reader.days.current(query.instrument)  # the calendar is at hand
        answer, end = None, min(query.span.end, cap)
        for tries in range(LOOKBACKS):
            try:
                start = grid.back(end, count * 2**tries)
            except BadRangeError:  # calendars do not reach so far back: these are all there are
                break
            answer = self._of_span(query, view, Span(start, query.span.end))
            if answer is None or not len(answer.table):
                return None
            answer = as_known(answer)
            if closed_rows(answer) >= count:
                break
        return None if answer is None else last_of(answer, count)

    def _of_span(self, query: BarsQuery, view: SeriesView, wanted: Span) -> Answer | None:
        """Answer with all bars of a span."""
        until = self._held_until(view, wanted)
        if until is None:
            return None
        try:
            stock = query.instrument.asset_class == "stock"
            book = self._store.actions(view.key.symbol) if stock else None
            # A split close to a fetch is for a calendar to look at.
            if book is not None and may_concern(book.splits, view.coverage):
                return None
            outcome = Outcome(book=book, view=view, until=until)
            answer = self._reader.answer(query, view.key, wanted, outcome)
        except (KindMismatchError, CorruptEntryError):
            return None
        if not answer.gaps:
            return answer
        if answer.facts["generation"] != view.generation:
            return None  # a year may just have been dropped to keep the cache within its limit
        end = _end(view.coverage)
        told = [g for g in answer.gaps if g.span.start < end or g.reason == AFTER_LAST]
        if any(not gap.harmless for gap in told):
            return None  # a vendor that is new may have what others lack
        return replace(answer, gaps=told)

    def _held_until(self, view: SeriesView, wanted: Span) -> int | None:
        """Return until when (UTC ms) nothing need be asked; None where something must be now."""
        now = self._clock.now_ms()
        due = view.next_due if view.next_due is not None and now < view.next_due else None
        known = view.coverage.touching(wanted)
        is_unsettled = any(c.state == "provisional" and c.expires is None for c in known)
        if (is_unsettled and due is None) or fetched_ahead(view, now):
            return None
        lacking = gaps(Span(wanted.start, min(wanted.end, now + 1)), known.held(now))
        if lacking:
            lacking = subtract(lacking, lifetime_of(view).beyond(now))
        if lacking and (due is None or lacking[0].start < _end(view.coverage)):
            return None
        ends = [part.expires for part in known if part.expires is not None]
        if due is not None and (lacking or is_unsettled or wanted.end > now):
            ends.append(due)
        return min(ends, default=_NEVER)


def _end(coverage: Coverage) -> int:
    return coverage[-1].span.end if coverage else 0

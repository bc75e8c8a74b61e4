"""Answer from the store where asking cannot change the answer: by comparison alone."""

from __future__ import annotations

from dataclasses import replace

from ...cache.store import BarStore, SeriesView
from ...clock import Clock
from ...errors import CorruptEntryError, KindMismatchError
from ...model.coverage import Coverage
from ...model.query import BarsQuery
from ...model.series import SeriesKey
from ...model.span import Span, gaps, subtract
from ..answer.answer import Answer
from ..answer.reader import Outcome, Reader
from ..fetch.lifetimes import lifetime_of
from ..fetch.split_window import may_concern
from ..ingest.commit import AFTER_LAST, fetched_ahead


class CacheLookup:
    """The short way: no calendar, no vendor, no HTTP. Thread-safe; takes no lock."""

    def __init__(self, store: BarStore, reader: Reader, clock: Clock) -> None:
        self._store = store
        self._reader = reader
        self._clock = clock

    def answer(self, query: BarsQuery) -> Answer | None:
        """Answer from the default (or the pinned vendor's) lane; None where more must be done."""
        if query.refresh or query.include_forming or query.bars is not None:
            return None
        key = SeriesKey(query.instrument.symbol, query.timeframe, query.pinned)
        view = self._store.view(key)
        if not view.exists or not self._is_hit(view, query.span):
            return None
        try:
            stock = query.instrument.asset_class == "stock"
            book = self._store.actions(key.symbol) if stock else None
            # A split close to a fetch is for a calendar to look at.
            if book is not None and may_concern(book.splits, view.coverage):
                return None
            answer = self._reader.answer(query, key, query.span, Outcome(book=book, view=view))
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

    def _is_hit(self, view: SeriesView, wanted: Span) -> bool:
        """Tell whether nothing need be asked."""
        now = self._clock.now_ms()
        fresh = view.next_due is not None and now < view.next_due
        known = view.coverage.touching(wanted)
        if not fresh and any(c.state == "provisional" and c.expires is None for c in known):
            return False
        if fetched_ahead(view, now):
            return False
        lacking = gaps(Span(wanted.start, min(wanted.end, now + 1)), known.held(now))
        if lacking:
            lacking = subtract(lacking, lifetime_of(view).beyond(now))
        return not lacking or (fresh and lacking[0].start >= _end(view.coverage))


def _end(coverage: Coverage) -> int:
    return coverage[-1].span.end if coverage else 0

"""Which shorter bars an answer may be made of."""

from __future__ import annotations

from dataclasses import replace

from ...cache.store import BarStore
from ...calendars.calendar import MarketCalendar, calendar_for, first_unclosed
from ...calendars.gaps import BarGrid, missing
from ...model.instant import DAY_MS
from ...model.kind import Kind
from ...model.query import BarsQuery
from ...model.series import SeriesKey
from ...model.span import Span, intersect, subtract
from ...model.timeframe import Timeframe
from ...prices.conversions import has_known_hours, obstacle, sources_for
from ...prices.resample import source_span
from ..selection.candidate import Candidate
from ..selection.candidates import Selector, candidates_of

_DAY = Timeframe(1, "d")
# Looked for with every vendor; what a vendor says that it serves besides is looked for too.
_USUAL = tuple(
    map(Timeframe.parse, "1M 1w 3d 1d 12h 8h 6h 4h 2h 90m 1h 30m 15m 10m 5m 3m 2m 1m".split())
)
# More bars than this are not fetched for one: a month is not worth its minutes.
_MOST_PARTS = 1000
_HOURS_SEEN_MS = 60 * DAY_MS


class SourceTimeframes:
    """Says what bars can be made of. Thread-safe; it asks nobody and reads metadata alone."""

    def __init__(self, selector: Selector, store: BarStore) -> None:
        self._selector = selector
        self._store = store

    def preferred(self, query: BarsQuery) -> Timeframe | None:
        """Return days where the weeks or months of a share are better made of them, else None.

        A vendor's own ones break at every split, and its running one comes under a stamp of its
        own; its days do neither. Where the rules give weeks to another vendor than days, that one
        is asked. No calendar is needed to tell.

        Raises:
            UnknownProviderError: the pinned vendor does not exist.
        """
        if not query.is_of_whole_weeks:
            return None
        whole, days = (self._usable(query, timeframe) for timeframe in (query.timeframe, _DAY))
        if not whole or not days or whole[0].capabilities is None:
            return None
        return _DAY if whole[0].name == days[0].name else None

    def best(self, query: BarsQuery) -> Timeframe | None:
        """Return what the bars asked for are best made of; None where nothing will do.

        That is what reaches over most of the range, and of these what takes the fewest bars to
        fetch: what is held takes none, and long bars take fewer than short ones.

        Raises:
            UnknownProviderError: the pinned vendor does not exist.
        """
        calendar = calendar_for(query.instrument)
        found = self._sources(query, calendar)
        return min(found, key=lambda source: self._cost(query, source, calendar), default=None)

    def anchor(self, query: BarsQuery, source: Timeframe) -> str:
        """Return what the ``source`` bars are counted from, as far as it is known beforehand."""
        return self._kind(query, source).anchor or "session"

    # --- what there is ---------------------------------------------------------------------

    def _sources(self, query: BarsQuery, calendar: MarketCalendar) -> list[Timeframe]:
        """Return what the bars can be made of exactly, longest first."""
        seen = Span(query.span.end - _HOURS_SEEN_MS, query.span.end)
        fit = [
            source
            for source in self._served_or_stored(query, calendar)
            if self._has_known_hours(query, source, calendar)
            and (anchor := self.anchor(query, source))
            and sources_for(
                query.timeframe, [source], calendar, anchor=anchor, source_anchor=anchor, span=seen
            )
        ]
        return sorted(fit, key=lambda t: t.longest_ms, reverse=True)

    def _served_or_stored(self, query: BarsQuery, calendar: MarketCalendar) -> list[Timeframe]:
        return [
            source
            for source in self._known(query)
            if not obstacle(source, query.timeframe, calendar)
            and (query.offline or _count(source, query.timeframe) <= _MOST_PARTS)
            and (
                any(c.capabilities for c in self._usable(query, source))
                or self._store.view(self._key(query, source)).exists
            )
        ]

    def _has_known_hours(
        self, query: BarsQuery, source: Timeframe, calendar: MarketCalendar
    ) -> bool:
        session = self._kind(query, source).session
        return not source.is_intraday or has_known_hours(source, session, calendar)

    def _kind(self, query: BarsQuery, source: Timeframe) -> Kind:
        """Return the kind of ``source`` bars as far as what is stored and the vendors tell it."""
        kinds = [c.kind(query.instrument, source) for c in self._usable(query, source)]
        stored = self._store.view(self._key(query, source)).kind
        found = stored or Kind("", "")
        for kind in kinds:
            found = found.filled_from(kind)
        return found

    def _known(self, query: BarsQuery) -> list[Timeframe]:
        """Return all lengths of bars that any vendor for such instruments may serve."""
        asked = (replace(query, timeframe=timeframe) for timeframe in _USUAL)
        vendors = {c.name: c for q in asked for c in candidates_of(self._selector, q)}
        kind = query.instrument.asset_class
        said = (c.capabilities.labels(kind) for c in vendors.values() if c.capabilities)
        labels = [label for served in said for label in served]
        return list(dict.fromkeys([*_USUAL, *map(Timeframe.parse, labels)]))

    def _usable(self, query: BarsQuery, timeframe: Timeframe) -> list[Candidate]:
        """Return the vendors that serve ``timeframe``, in the order of its own rule."""
        asked = replace(query, timeframe=timeframe)
        found = candidates_of(self._selector, asked)
        return [c for c in found if not c.refusal(query.instrument, timeframe)]

    # --- what it costs ---------------------------------------------------------------------

    def _cost(
        self, query: BarsQuery, source: Timeframe, calendar: MarketCalendar
    ) -> tuple[int, int]:
        """Return how much of the range is out of reach, and how many bars have to be fetched."""
        lacking = self._lacking(query, source, calendar)
        if query.offline:
            return _total(lacking), 0
        usable = self._usable(query, source)
        reached = [c.servable(span, source, query.now_ms) for c in usable for span in lacking]
        return _total(subtract(lacking, reached)), _total(lacking) // source.longest_ms

    def _lacking(self, query: BarsQuery, source: Timeframe, calendar: MarketCalendar) -> list[Span]:
        """Return the stretches of ``source`` bars that are wanted and not held."""
        grid = BarGrid(calendar, source, self.anchor(query, source))
        needed = source_span(query.span, query.timeframe, calendar, anchor=grid.anchor)
        cap = first_unclosed(calendar, source, query.now_ms, grid.anchor)
        needed = Span(needed.start, min(needed.end, cap))
        if needed.is_empty:
            return []
        coverage = self._store.view(self._key(query, source)).coverage
        held = [] if query.refresh else coverage.held(query.now_ms)
        return intersect(missing(needed, held, (), grid).segments, [needed])

    @staticmethod
    def _key(query: BarsQuery, timeframe: Timeframe) -> SeriesKey:
        parts = (query.provider,) if query.provider else ()
        return SeriesKey(query.instrument.symbol, timeframe, parts)


def _total(spans: list[Span]) -> int:
    return sum(end - start for start, end in spans)


def _count(source: Timeframe, target: Timeframe) -> int:
    return target.longest_ms // source.longest_ms

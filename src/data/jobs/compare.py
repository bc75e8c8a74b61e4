"""Hold what is cached of a series against what its vendors say now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..bars.answer.reader import Outcome, Reader
from ..bars.validity import CLOSED
from ..cache.legacy.reader import SAMPLE_LANE
from ..cache.store import SeriesView
from ..calendars.calendar import calendar_for
from ..calendars.gaps import BarGrid
from ..errors import BadRangeError, CorruptEntryError, DataError
from ..model.actions import Action
from ..model.bars import BarTable, concat
from ..model.coverage import Coverage, Covered
from ..model.instant import DAY_MS, date_of, day_ms
from ..model.kind import ADJUSTMENTS, Adjustment, Basis, Kind
from ..model.query import BarsQuery
from ..model.series import SeriesKey
from ..model.span import Span, coalesce
from ..prices.differences import ComparisonTerms, Difference, compare, differing_actions
from .refetch import Afresh
from .verification import CACHE, Comparison, differing

if TYPE_CHECKING:
    from ..wiring import Services

# Rebased to another date, prices may be rounded differently; what has no actions is the same to
# the last bit.
_REBASED = 1e-6
_UNSETTLED = ("provisional", "suspect")
# So far beyond its end a series is looked at that is kept up to date.
_MOST_NEWER = 500


class StoredBars:
    """Compares what is held of one series, lane by lane and vendor by vendor.

    Args:
        house: the services.
        query: which series and range; with a provider only what that one supplied.
        most: the last so many bars are looked at; None for all of them.
    """

    def __init__(self, house: Services, query: BarsQuery, most: int | None) -> None:
        self._house = house
        self._query = query
        self._most = most
        self._store = house.cache.store
        self._reader = Reader(self._store, house.clock)

    def comparisons(self) -> Iterator[Comparison]:
        """Yield one comparison for each lane and vendor."""
        wanted = self._query.instrument.symbol, self._query.timeframe
        for key in self._store.keys():
            if (key.symbol, key.timeframe) == wanted and key.lane != SAMPLE_LANE:
                yield from self._of_lane(key)

    def _of_lane(self, key: SeriesKey) -> Iterator[Comparison]:
        view = self._store.view(key)
        kind = view.kind or Kind()
        grid = BarGrid(
            calendar_for(self._query.instrument), key.timeframe, kind.anchor or "session"
        )
        known = [c for c in view.coverage.within(self._query.span) if c.reason != CLOSED]
        held = [c for c in known if c.state != "empty"]
        if self._query.provider is not None:
            held = [c for c in held if c.vendor == self._query.provider]
        if not held:
            return
        start = self._start(Span(held[0].span.start, held[-1].span.end), grid)
        reach = Span(start, known[-1].span.end)
        for vendor in dict.fromkeys(c.vendor for c in held if c.span.overlaps(reach)):
            yield self._of_vendor(key, view, grid, (vendor, reach))

    def _start(self, span: Span, grid: BarGrid) -> int:
        """Return from where on to look at what is held in ``span``."""
        if self._most is None:
            return span.start
        try:
            return max(span.start, grid.back(span.end, self._most))
        except BadRangeError:  # there are not so many since 1900
            return span.start

    def _of_vendor(
        self, key: SeriesKey, view: SeriesView, grid: BarGrid, whose: tuple[str, Span]
    ) -> Comparison:
        """Compare what one vendor supplied to one lane with what it says now."""
        vendor, reach = whose
        mine = _parts_of(view.coverage.within(reach), vendor)
        newer = self._newer(view, vendor)
        span = Span(mine[0].span.start, max(mine[-1].span.end, newer.end))
        try:
            return self._compared(key, grid, (vendor, span), mine, newer)
        except DataError as error:
            return Comparison(CACHE, vendor, key.folder, span, error=str(error))

    def _newer(self, view: SeriesView, vendor: str) -> Span:
        """Return where the vendor may have bars that are not held yet; nothing for the past.

        A series that once was asked for up to its time is taken to be kept up to date.
        """
        last = [c for c in view.coverage if c.state != "empty"][-1]
        end = last.span.end
        if view.next_due is None or last.vendor != vendor or self._query.span.end < end:
            return Span(end, end)
        step = self._query.timeframe.longest_ms
        return Span(end, max(end, min(self._query.span.end, end + _MOST_NEWER * step)))

    def _compared(
        self,
        key: SeriesKey,
        grid: BarGrid,
        whose: tuple[str, Span],
        mine: Sequence[Covered],
        newer: Span,
    ) -> Comparison:
        vendor, span = whose
        adjustment = _common(key, mine)
        query = replace(self._query, span=span, adjustment=adjustment, provider=None)
        answer = self._reader.answer(query, key, span, Outcome(), lenient=True)
        goal = Basis(answer.facts.get("adjustment", adjustment), answer.as_of)
        known = self._known_actions()
        afresh = Afresh(self._house.selector, self._house.clock, query, grid)
        said = afresh.ask(vendor, span, goal, known)
        spans = [s.clip(said.span) for s in coalesce([*(c.span for c in mine), newer])]
        spans = [s for s in spans if not s.is_empty] or [said.span]
        now = self._house.clock.now_ms()
        late = [c.span for c in mine if c.state in _UNSETTLED or not c.stands(now)]
        terms = ComparisonTerms(
            _REBASED if goal.as_of else 0.0,
            unsettled=[*late, newer],
            actions=[*known, *said.actions],
            adj_close=goal.as_of is not None and goal.as_of == afresh.today(),
        )
        found = compare(_cut(answer.table, spans), _cut(said.table, spans), terms)
        if said.tells_actions:
            found = found.with_actions(self._other_actions(known, said.actions, vendor, spans))
        remarks = (*said.remarks, *differing(answer.kind, said.kind, CACHE, vendor))
        return Comparison(
            CACHE,
            vendor,
            key.folder,
            Span(spans[0].start, spans[-1].end),
            found,
            goal,
            "",
            remarks,
            said.requests,
        )

    def _other_actions(
        self, known: Sequence[Action], said: Sequence[Action], vendor: str, spans: Sequence[Span]
    ) -> Difference | None:
        """Return what the vendor says otherwise than what counts here, where that was asked for."""
        # What happened on the first day concerns none of these bars, and need not be known.
        first, last = date_of(spans[0].start), date_of(spans[-1].end - 1)
        days = Span(day_ms(first) + DAY_MS, day_ms(last) + DAY_MS)
        if days.is_empty or not self._store.actions(self._query.instrument.symbol).covers(days):
            return None
        return differing_actions(known, said, (CACHE, vendor), days)

    def _known_actions(self) -> Sequence[Action]:
        """Return the splits and dividends that are stored; none where they are damaged."""
        if self._query.instrument.asset_class != "stock":
            return ()
        try:
            return self._store.actions(self._query.instrument.symbol).actions
        except CorruptEntryError:
            return ()


def _common(key: SeriesKey, parts: Iterable[Covered]) -> Adjustment:
    """Return the adjustment to compare in; raw prices need no splits and dividends as they are."""
    if all(part.basis.adjustment == "raw" for part in parts if part.state != "empty"):
        return "raw"
    return next((a for a in ADJUSTMENTS if a in key.lane), "split")


def _parts_of(coverage: Coverage, vendor: str) -> list[Covered]:
    """Return what a vendor answered for, be it that it has nothing there."""
    return [
        c
        for c in coverage
        if c.vendor == vendor or (c.state == "empty" and vendor in c.vendor.split(","))
        if c.reason != CLOSED
    ]


def _cut(table: BarTable, spans: Iterable[Span]) -> BarTable:
    return concat(table.within(span) for span in spans)

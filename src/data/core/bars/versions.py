"""Answers from a series as it was after one of its commits, using only the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..cache.faults import faults_within, sentences
from ..cache.store import BarStore, SeriesView
from ..calendars.calendar import first_unclosed, opened_and_coming, price_calendar
from ..calendars.grid import grid_for
from ..clock import Clock
from ..model.identity.kind import Kind
from ..model.identity.series import SeriesKey
from ..model.market.bars import BarTable
from ..model.request.query import BarsQuery
from ..model.stored.coverage import Coverage
from ..model.stored.lifetime import Lifetime
from ..model.time.instant import iso, parse_iso
from ..model.time.span import Span
from .answer.adjust import StoredBars, convert
from .answer.answer import Answer, Gap, KnownActions, Missing, list_gaps, own_volume
from .answer.reader import at_borders, doubts_of, splice_problems, with_disputes, with_unadjusted
from .fetch.lane import real_gaps
from .selection.lanes import LaneFinder
from .series import UnfilledSpan
from .validity import TradingDay

# Earlier than any bar.
_BEFORE_ANY_BAR = -(10**15)


class Versions:
    """Returns bars as they were in an earlier version. Thread-safe; takes no lock.

    The bars, their vendors and their states are as in that version. As in every answer, prices are
    converted to the requested adjustment with the splits and dividends known today; only ``raw``
    prices are unaffected by later actions. Invalid rows are not included. Bars that cannot be
    adjusted for a later dividend are a gap.
    """

    def __init__(self, store: BarStore, lanes: LaneFinder, clock: Clock) -> None:
        self._store = store
        self._lanes = lanes
        self._clock = clock

    def answer(self, query: BarsQuery) -> Answer:
        """Return the bars of the requested version in the requested range.

        Raises:
            QueryError: The version never existed or is no longer kept.
            KindMismatchError: The bars cannot be converted to the requested adjustment.
        """
        assert query.version is not None
        lane = self._lanes.find(query)
        key, span, view = lane.key, query.span, lane.view
        start = span.start if query.bars is None else _BEFORE_ANY_BAR
        table, coverage = self._store.read_version(key, Span(start, span.end), query.version)
        if query.bars is not None:
            table = table.take(slice(max(0, len(table) - query.bars), None))
            span = Span(int(table.stamps[0]) if len(table) else span.end, span.end)
        return self._answer(query, span, view, table, at_borders(coverage.within(span)))

    def _answer(
        self, query: BarsQuery, span: Span, view: SeriesView, table: BarTable, coverage: Coverage
    ) -> Answer:
        kind = view.kind or Kind()
        table = own_volume(table, coverage, kind)
        committed = self._committed_ms(view.key, query.version or 0)
        today = None
        if view.key.is_extended:  # its last bars may be from before the open
            opened, coming = opened_and_coming(price_calendar(query.instrument), committed)
            today = TradingDay(opened[-1].day, coming[0].day) if opened and coming else None
        bars = StoredBars(
            self._store, query, view.key, view, table, coverage, KnownActions(), today
        )
        rebased = convert(bars, "part")
        if isinstance(rebased, Missing):
            raise rebased.error
        facts: dict[str, Any] = {
            "lane": view.key.folder,
            "generation": query.version,
            "version": query.version,
            "committed_at": iso(committed),
            "problems": [*_problems(view, query, span, len(table)), *splice_problems(coverage)],
            "attempts": [],
            "rejected": {},
            "asked_at": iso(self._clock.now_ms()),
        }
        facts |= {"adjustment": rebased.own} if rebased.own else {}
        gaps: Sequence[Gap] = self._gaps(query, span, coverage, kind, committed)
        if rebased.begins is not None:
            gaps = with_unadjusted(gaps, coverage, *rebased.begins)
        return Answer(
            query=query,
            table=rebased.table,
            coverage=coverage,
            kind=kind,
            as_of=rebased.as_of,
            gaps=gaps,
            substitute=f"{rebased.own} prices ({view.key})" if rebased.own else None,
            doubts=doubts_of(rebased, coverage),
            used=rebased.used,
            facts=with_disputes(facts, rebased, coverage),
        )

    def _committed_ms(self, key: SeriesKey, version: int) -> int:
        """Return the time at which the version was committed; the current time if that is unknown."""
        times = [e.get("time") for e in self._store.log(key) if e["generation"] <= version]
        try:
            return parse_iso(str(times[-1])) if times else self._clock.now_ms()
        except ValueError:
            return self._clock.now_ms()

    def _gaps(
        self, query: BarsQuery, span: Span, coverage: Coverage, kind: Kind, committed: int
    ) -> Sequence[Gap]:
        """Return the spans without bars, up to the last bar that closed before the version was committed."""
        grid = grid_for(query.instrument, query.timeframe, kind)
        cap_ms = first_unclosed(grid.calendar, grid.timeframe, committed, grid.anchor)
        unfilled = [UnfilledSpan(span, f"version {query.version} has no bars there")]
        gaps = list_gaps(span, coverage, unfilled, committed, Lifetime().for_gaps(committed))
        return real_gaps(gaps, cap_ms, grid)


def _problems(view: SeriesView, query: BarsQuery, span: Span, rows: int) -> list[str]:
    """Return the recorded faults in ``span``, which are known only for the latest version."""
    if query.version != view.generation or not view.faults:
        return []
    return sentences(faults_within(view.faults, span), rows)

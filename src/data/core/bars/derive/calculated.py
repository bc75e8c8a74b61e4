"""Longer bars that a job calculates from stored ones and keeps in a lane of their own.

This happens only in jobs that explicitly request it. No query is answered from such a
lane, so its bars never replace a vendor's. The name of the lane contains the source timeframe; each
span has the vendors, the basis and the state of the bars it was built from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from ....errors import KindMismatchError, NoDataError, QueryError
from ...cache.store import BarStore, Commit, CommitPiece, SeriesView
from ...calendars.calendar import calendar_for, session_date
from ...model.identity.kind import Basis
from ...model.identity.series import SeriesKey, calculated_lane
from ...model.market.bars import BarTable
from ...model.request.query import BarsQuery
from ...model.stored.coverage import WITH_BARS, Coverage, Covered
from ...model.stored.stored import Calculation
from ...model.time.instant import date_of, day_ms, year_start
from ...model.time.span import Span, uncovered
from ...model.time.timeframe import Timeframe
from ...prices.conversions import build_objection
from ..answer.answer import Answer
from ..selection.lanes import LaneFinder
from .derive import derived

_DAILY = Timeframe(1, "d")
_FIRST_MS = year_start(1900)


class Calculator:
    """Builds longer bars from stored shorter bars; no vendor is queried. Thread-safe.

    Args:
        store: Store for the source bars and for the calculated ones.
        lanes: Finds the lane (bars of one kind) that contains the source bars.
        answer_query: Function that returns the source bars.
    """

    def __init__(
        self, store: BarStore, lanes: LaneFinder, answer_query: Callable[[BarsQuery], Answer]
    ) -> None:
        self._store, self._lanes, self._answer_query = store, lanes, answer_query

    def calculate(self, query: BarsQuery, source: Timeframe, *, anew: bool = False) -> Calculation:
        """Build the bars of ``query`` from all stored ``source`` bars, and store them year by year.

        Stored bars that would not change are not written again. For a market with sessions, daily
        bars built this way lack the auctions.

        Args:
            query: Symbol and timeframe; its span is ignored.
            source: Timeframe of the bars to build from.
            anew: Whether to drop previously calculated bars first.

        Raises:
            QueryError: Such bars cannot be built from ``source`` bars.
            NoDataError: No ``source`` bars are stored, or not a single whole bar can be built from
                them.
            KindMismatchError: This market's days begin the evening before, or the source bars cover
                hours that are not in the calendar.
            CacheError: The store cannot be read or written.
        """
        symbol, target = query.instrument.symbol, query.timeframe
        _check(query, source)
        whole = Span(_FIRST_MS, query.now_ms + 1)
        minutes = replace(query, timeframe=source, span=whole, bars=None)
        lane = self._lanes.find(minutes)
        if lane.key.is_of_files:  # the whole file is read
            self._answer_query(replace(minutes, offline=True, refresh=False))
            lane = self._lanes.find(minutes)
        # Offline, stored bars of another kind may answer instead; then the bars are built from
        # those.
        is_held = lane.view.exists or not lane.is_beside
        stored = lane.view if is_held else self._store.view(SeriesKey(symbol, source))
        kind = stored.kind
        if kind is None or stored.first is None or stored.last is None:
            raise NoDataError(
                f"no {source} bars for {symbol} are stored to build {target} bars from",
                symbol=symbol,
                hint=f"fetch them first: `onetape populate --symbols {symbol} --timeframes {source}`",
            )
        is_extended = query.instrument.is_extended
        hours = calendar_for(query.instrument) if is_extended else None
        made_of = calculated_lane(source, is_extended=is_extended)
        other_parts = tuple(part for part in stored.key.lane if part not in made_of)
        key = SeriesKey(symbol, target, (*other_parts, *made_of))
        reach = _reach(query, stored)
        _check_days(query, reach)
        if anew:
            self._store.clear_years(key, self._store.years(key), by="calculate")
        total = Calculation(key)
        # Raw prices are stored raw; splits that become known later only affect reads.
        bases = {entry.basis.adjustment for entry in stored.coverage if entry.state in WITH_BARS}
        adjustment = "raw" if bases == {"raw"} else query.adjustment
        for year in self._store.years(stored.key):
            span = Span(year_start(year), year_start(year + 1)).clip(reach)
            year_query = replace(
                query, span=span, bars=None, offline=True, refresh=False, adjustment=adjustment
            )
            anchor = kind.anchor or "session"
            answer = derived(year_query, source, anchor, self._answer_query, hours)
            reasons = [gap.reason for gap in answer.gaps if not gap.harmless]
            total = total.plus(len(answer.table), self._store_changed(key, answer, span), reasons)
        if not total.rows:
            raise NoDataError(f"no {key} bar has all its {source} bars", symbol=symbol)
        return total

    def _store_changed(self, key: SeriesKey, answer: Answer, span: Span) -> int:
        """Store the bars of a year that differ from the stored ones; return their number."""
        before = self._store.stored_span(key, span)
        start = _first_difference(answer, before.table, before.coverage)
        if start is None:
            return 0
        # Adjacent commits, of which there may be one per night, are merged later.
        ends = [c.span.end for c in before.coverage if c.state in WITH_BARS and c.span.end <= start]
        changed = Span(max(ends, default=start), span.end)
        entries = answer.coverage.within(changed)
        pieces = [self._piece(answer, entry) for entry in entries if entry.state in WITH_BARS]
        for rest in uncovered(changed, [piece.span for piece in pieces]):
            if len(before.table.within(rest)):
                like = pieces[0] if pieces else self._piece(answer, before.coverage[-1])
                removal = replace(like, table=BarTable.empty(), span=rest, holes=(rest,))
                pieces.append(removal)
        marks = tuple(entry for entry in entries if entry.state == "suspect")
        self._store.commit(key, Commit(tuple(pieces), marks, kind=answer.kind))
        return sum(len(piece.table) for piece in pieces)

    def _piece(self, answer: Answer, entry: Covered) -> CommitPiece:
        table = answer.table.within(entry.span)
        return CommitPiece(
            table,
            entry.span,
            entry.vendor,
            entry.fetched_at,
            answer.kind,
            self._basis(answer, entry, table),
            "final" if entry.state == "final" else "provisional",
        )

    def _basis(self, answer: Answer, entry: Covered, table: BarTable) -> Basis:
        """Return the basis (adjustment and its date) of the prices in a part of an answer.

        For stocks, it consists of the adjustment and date of the answer; for other instruments, and
        for raw prices, it is the basis recorded in ``entry``.
        """
        basis, query = entry.basis, answer.query
        if query.instrument.asset_class == "stock" and query.adjustment != "raw":
            basis = Basis(answer.facts.get("adjustment", query.adjustment), answer.as_of)
        first = int(table.stamps[0]) if len(table) else entry.span.start
        return basis.of_bars(first, answer.kind.session, intraday=query.timeframe.is_intraday)


def _reach(query: BarsQuery, stored: SeriesView) -> Span:
    """Return the span for which bars can be, or once could be, built from stored bars."""
    bounds = stored.first or 0, min(stored.last or 0, query.now_ms)
    if not query.timeframe.is_intraday:
        first, last = (day_ms(session_date(query.instrument, bound)) for bound in bounds)
        return Span(first, last + 1)
    # The first requested minutes may have had no trades.
    starts = [entry.span.start for entry in stored.coverage if entry.state in WITH_BARS]
    return Span(min(starts, default=bounds[0]), bounds[1] + 1)


def _check(query: BarsQuery, source: Timeframe) -> None:
    target = query.timeframe
    reason = ""
    if target.is_intraday:
        reason = build_objection(source, target, calendar_for(query.instrument))
    elif target != _DAILY:
        reason = "they are built from days on request"
    if reason:
        raise QueryError(
            f"{target} bars cannot be built from {source} bars: {reason}",
            symbol=query.instrument.symbol,
            hint="use an intraday timeframe that they divide, or 1d",
        )


def _check_days(query: BarsQuery, reach: Span) -> None:
    """Raise ``KindMismatchError`` for daily or longer bars if trading days begin on the previous evening.

    Vendors delimit such days differently.
    """
    if query.timeframe.is_intraday:
        return
    first, last = date_of(reach.start), date_of(reach.end)
    sessions = calendar_for(query.instrument).sessions(first, last)
    if any(session.open_ms < day_ms(session.day) for session in sessions):
        raise KindMismatchError(
            f"daily bars for {query.instrument.symbol} begin the evening before (UTC) and cannot be "
            "built from shorter bars",
            symbol=query.instrument.symbol,
            hint="request 1d bars, which vendors have",
        )


def _first_difference(answer: Answer, table: BarTable, coverage: Coverage) -> int | None:
    """Return the first timestamp at which bars differ from the stored ones; None if none differ."""
    new, stored = answer.table, table
    if (new.adj_close is None) != (stored.adj_close is None) and len(new) and len(stored):
        return int(min(new.stamps[0], stored.stamps[0]))
    size = min(len(new), len(stored))
    same = new.stamps[:size] == stored.stamps[:size]
    for column, other in zip(new.values(), stored.values(), strict=False):
        same &= (column[:size] == other[:size]) | (np.isnan(column[:size]) & np.isnan(other[:size]))
    differing = np.flatnonzero(~same)
    row = int(differing[0]) if len(differing) else size
    stamps = [int(side.stamps[row]) for side in (new, stored) if row < len(side)]
    stamps += _other_sources(answer.coverage, coverage, new)
    return min(stamps, default=None)


def _other_sources(coverage: Coverage, stored_coverage: Coverage, table: BarTable) -> Iterator[int]:
    """Yield the start of each span whose bars have a vendor or state other than the stored one."""
    for entry in coverage:
        rows = table.within(entry.span).stamps
        if len(rows) and entry.state in WITH_BARS:
            span = Span(int(rows[0]), int(rows[-1]) + 1)
            stored = [old for old in stored_coverage.within(span) if old.state in WITH_BARS]
            if any((old.vendor, old.state) != (entry.vendor, entry.state) for old in stored):
                yield span.start

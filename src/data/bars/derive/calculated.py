"""Longer bars that a job calculates from stored ones and keeps in a lane of their own.

Only a job that was told to does this (decision 9): no request is answered out of such a lane, so
what it holds never stands where bars of a vendor do. It names what its bars are made of; each
stretch of it has the vendors, the basis and the state of its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from ...cache.store import BarStore, Commit, CommitPiece, SeriesView
from ...calendars.calendar import calendar_for, session_date
from ...errors import KindMismatchError, NoDataError, QueryError
from ...model.bars import BarTable
from ...model.coverage import Coverage, Covered
from ...model.instant import date_of, day_ms, year_start
from ...model.kind import Basis
from ...model.query import BarsQuery
from ...model.series import SeriesKey, calculated_lane
from ...model.span import Span, gaps
from ...model.stored import Calculated
from ...model.timeframe import Timeframe
from ...prices.conversions import obstacle
from ..answer.answer import Answer
from ..selection.lanes import LaneFinder
from ..selection.offers import is_too_long
from .derive import derived

_DAY = Timeframe(1, "d")
_FIRST_MS = year_start(1900)


class Calculator:
    """Calculates bars out of what is stored; no vendor is asked. Thread-safe.

    Args:
        store: where both are kept.
        lanes: finds the source bars that answer.
        ask: answers the source bars.
    """

    def __init__(
        self, store: BarStore, lanes: LaneFinder, ask: Callable[[BarsQuery], Answer]
    ) -> None:
        self._store, self._lanes, self._ask = store, lanes, ask

    def calculate(self, query: BarsQuery, source: Timeframe, *, anew: bool = False) -> Calculated:
        """Store the bars of ``query`` that all stored ``source`` bars make up, year by year.

        What is stored of them and would be the same again is left alone. Days of a market with
        sessions lack its auctions.

        Args:
            query: symbol and timeframe; its span does not count.
            source: what they are made of.
            anew: drop what was calculated before first.

        Raises:
            QueryError: such bars cannot be made of ``source`` bars.
            NoDataError: no ``source`` bar is stored, or not one whole bar can be made of them.
            KindMismatchError: days of this market begin on the evening before, or the source bars
                stand in hours that the calendar does not know.
            CacheError: the store cannot be read or written.
        """
        symbol, target = query.instrument.symbol, query.timeframe
        _check(query, source)
        whole = Span(_FIRST_MS, query.now_ms + 1)
        minutes = replace(query, timeframe=source, span=whole, bars=None)
        lane = self._lanes.find(minutes)
        # Offline, what is stored of another kind stands in: these bars are made of it then.
        is_held = lane.view.exists or not lane.is_beside
        stored = lane.view if is_held else self._store.view(SeriesKey(symbol, source))
        # What an earlier version stored of extended hours makes no bars of regular ones.
        kind = stored.kind
        is_unfit = kind is None or is_too_long(kind, minutes)
        if is_unfit or kind is None or stored.first is None or stored.last is None:
            raise NoDataError(
                f"no {source} bars of {symbol} are stored to make {target} bars of",
                symbol=symbol,
                hint=f"fetch them first: `onetape populate --symbols {symbol} --timeframes {source}`",
            )
        is_extended = query.instrument.is_extended
        hours = calendar_for(query.instrument) if is_extended else None
        made_of = calculated_lane(source, is_extended=is_extended)
        own = tuple(part for part in stored.key.lane if part not in made_of)
        key = SeriesKey(symbol, target, (*own, *made_of))
        reach = _reach(query, stored)
        _check_days(query, reach)
        if anew:
            self._store.clear_years(key, self._store.years(key), by="calculate")
        total = Calculated(key)
        # Prices as they were traded stay so: what is learned of splits later concerns reads alone.
        bases = {c.basis.adjustment for c in stored.coverage if c.state != "empty"}
        adjustment = "raw" if bases == {"raw"} else query.adjustment
        for year in self._store.years(stored.key):
            span = Span(year_start(year), year_start(year + 1)).clip(reach)
            part = replace(
                query, span=span, bars=None, offline=True, refresh=False, adjustment=adjustment
            )
            anchor = kind.anchor or "session"
            answer = derived(part, source, anchor, self._ask, hours)
            lacking = [gap.reason for gap in answer.gaps if not gap.harmless]
            total = total.plus(len(answer.table), self._kept(key, answer, span), lacking)
        if not total.rows:
            raise NoDataError(f"not one {key} bar has all its {source} bars", symbol=symbol)
        return total

    def _kept(self, key: SeriesKey, answer: Answer, span: Span) -> int:
        """Store what differs from what is stored of a year; return how many bars that are."""
        before = self._store.stretch(key, span)
        start = _first_difference(answer, before.table, before.coverage)
        if start is None:
            return 0
        # Commits that adjoin are joined later: there may be one for each night.
        ends = [c.span.end for c in before.coverage if c.state != "empty" and c.span.end <= start]
        changed = Span(max(ends, default=start), span.end)
        parts = answer.coverage.within(changed)
        pieces = [self._piece(answer, part) for part in parts if part.state != "empty"]
        for hole in gaps(changed, [piece.span for piece in pieces]):
            if len(before.table.within(hole)):
                like = pieces[0] if pieces else self._piece(answer, before.coverage[-1])
                removal = replace(like, table=BarTable.empty(), span=hole, holes=(hole,))
                pieces.append(removal)
        marks = tuple(part for part in parts if part.state == "suspect")
        self._store.commit(key, Commit(tuple(pieces), marks, kind=answer.kind))
        return sum(len(piece.table) for piece in pieces)

    def _piece(self, answer: Answer, part: Covered) -> CommitPiece:
        table = answer.table.within(part.span)
        return CommitPiece(
            table,
            part.span,
            part.vendor,
            part.fetched_at,
            answer.kind,
            self._basis(answer, part, table),
            "final" if part.state == "final" else "provisional",
        )

    def _basis(self, answer: Answer, part: Covered, table: BarTable) -> Basis:
        """Return what the prices of a part of an answer are adjusted for."""
        basis, query = part.basis, answer.query
        if query.instrument.asset_class == "stock" and query.adjustment != "raw":
            basis = Basis(answer.facts.get("adjustment", query.adjustment), answer.as_of)
        first = int(table.stamps[0]) if len(table) else part.span.start
        return basis.of_bars(first, answer.kind.session, intraday=query.timeframe.is_intraday)


def _reach(query: BarsQuery, stored: SeriesView) -> Span:
    """Return the stamps of the bars that may be made of what is stored, now or before."""
    bounds = stored.first or 0, min(stored.last or 0, query.now_ms)
    if not query.timeframe.is_intraday:
        first, last = (day_ms(session_date(query.instrument, bound)) for bound in bounds)
        return Span(first, last + 1)
    # The first minutes that were asked for may have had no trade.
    starts = [c.span.start for c in stored.coverage if c.state != "empty"]
    return Span(min(starts, default=bounds[0]), bounds[1] + 1)


def _check(query: BarsQuery, source: Timeframe) -> None:
    target = query.timeframe
    why = ""
    if target.is_intraday:
        why = obstacle(source, target, calendar_for(query.instrument))
    elif target != _DAY:
        why = "they are made of days when they are asked for"
    if why:
        raise QueryError(
            f"{target} bars are not calculated out of {source} bars: {why}",
            symbol=query.instrument.symbol,
            hint="name intraday timeframes that they divide, or 1d",
        )


def _check_days(query: BarsQuery, reach: Span) -> None:
    """Refuse days that begin on the evening before: where vendors cut them is their own rule."""
    if query.timeframe.is_intraday:
        return
    first, last = date_of(reach.start), date_of(reach.end)
    sessions = calendar_for(query.instrument).sessions(first, last)
    if any(session.open_ms < day_ms(session.day) for session in sessions):
        raise KindMismatchError(
            f"days of {query.instrument.symbol} begin on the evening before (UTC), and are not "
            "calculated out of shorter bars",
            symbol=query.instrument.symbol,
            hint="ask for 1d bars, which vendors serve",
        )


def _first_difference(answer: Answer, table: BarTable, coverage: Coverage) -> int | None:
    """Return the stamp from which on bars differ from those stored; None where none do."""
    mine, theirs = answer.table, table
    if (mine.adj_close is None) != (theirs.adj_close is None) and len(mine) and len(theirs):
        return int(min(mine.stamps[0], theirs.stamps[0]))
    size = min(len(mine), len(theirs))
    same = mine.stamps[:size] == theirs.stamps[:size]
    for one, other in zip(mine.values(), theirs.values(), strict=False):
        same &= (one[:size] == other[:size]) | (np.isnan(one[:size]) & np.isnan(other[:size]))
    odd = np.flatnonzero(~same)
    at = int(odd[0]) if len(odd) else size
    stamps = [int(one.stamps[at]) for one in (mine, theirs) if at < len(one)]
    stamps += _other_sources(answer.coverage, coverage, mine)
    return min(stamps, default=None)


def _other_sources(mine: Coverage, theirs: Coverage, table: BarTable) -> Iterator[int]:
    """Yield where stretches with bars begin whose vendor or state is not the stored one."""
    for part in mine:
        rows = table.within(part.span).stamps
        if len(rows) and part.state != "empty":
            span = Span(int(rows[0]), int(rows[-1]) + 1)
            stored = [c for c in theirs.within(span) if c.state != "empty"]
            if any((c.vendor, c.state) != (part.vendor, part.state) for c in stored):
                yield span.start

"""Reads recorded bars again, with the adjustment of the recorded read or with today's."""

from __future__ import annotations

from dataclasses import replace

from ..cache.actions import by_date, first_ms
from ..cache.store import BarStore
from ..clock import Clock
from ..model.answer.reads import AppliedActions, ReadAgain, StoredRead
from ..model.identity.kind import Kind
from ..model.market.bars import BarTable, concat
from ..model.request.query import BarsQuery
from ..model.stored.coverage import Coverage
from ..model.time.span import Span
from ..prices.adjustment import DividendError, basis_parts, rebase
from .answer.adjust import StoredBars, convert
from .answer.answer import KnownActions, Missing, own_volume
from .answer.reader import at_borders
from .validity import TradingDays


def read_again(store: BarStore, clock: Clock, query: BarsQuery, read: StoredRead) -> ReadAgain:
    """Return stored bars as of a given generation; see :meth:`.BarsClient.read_again`.

    Args:
        store, clock: Store and clock of the data manager.
        query: A query for the series; its span is ignored.
        read: Bars to read.
    """
    key, span = read.series, Span(read.spans[0].start, read.spans[-1].end)
    query = replace(query, span=span, bars=None, opened_by_ms=read.opened_by_ms)
    view = store.view(key)
    if read.generation is None:
        view, table, coverage = store.stored_span(key, span)
        table = table.within(span)
    else:
        table, coverage = store.read_version(key, span, read.generation)
    coverage = at_borders(coverage.within(span))
    kind = view.kind or Kind()
    table = own_volume(table, coverage, kind)
    if read.applied is not None:
        table, applied = _apply(query, table, coverage, read.applied), read.applied
    else:
        table, applied = _apply_todays(store, clock, query, read, table, coverage)
    generation = view.generation if read.generation is None else read.generation
    return ReadAgain(generation, concat(map(table.within, read.spans)), coverage, applied)


def _apply(query: BarsQuery, table: BarTable, coverage: Coverage, used: AppliedActions) -> BarTable:
    """Apply the given splits and dividends to bars; if there are none, return the bars as stored.

    Bars before a dividend that cannot be applied are left out, as in the recorded answer.
    """
    closes, rows = used.closes, by_date(used.rows, query.instrument)
    if closes is None:
        return table
    own = {vendor: by_date(actions, query.instrument) for vendor, actions in used.own.items()}
    try:
        return rebase(
            table,
            basis_parts(coverage),
            rows,
            query.adjustment,
            as_of=used.as_of,
            own=(lambda vendor: own.get(vendor, rows)) if own else None,
            intraday=query.timeframe.is_intraday,
            timeframe=query.timeframe,
            close_before=closes.get,
        )
    except DividendError as error:
        later = table.take(table.stamps >= first_ms(query.instrument, error.ex_date))
        if len(later) in (0, len(table)):
            raise
        return _apply(query, later, coverage, used)


def _apply_todays(
    store: BarStore,
    clock: Clock,
    query: BarsQuery,
    read: StoredRead,
    table: BarTable,
    coverage: Coverage,
) -> tuple[BarTable, AppliedActions]:
    """Apply the currently stored splits and dividends; return the bars and the applied actions."""
    if query.instrument.asset_class != "stock":
        return table, AppliedActions()
    today = TradingDays(clock).current(query.instrument)
    view = store.view(read.series)
    actions = KnownActions(lacks_actions=read.as_stored)
    bars = StoredBars(store, query, read.series, view, table, coverage, actions, today)
    result = convert(bars, "part")
    if isinstance(result, Missing):
        raise result.error
    return result.table, AppliedActions.of_book(result.used.book, result.as_of, result.used.closes)

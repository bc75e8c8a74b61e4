"""Stored bars as the frame a reader gets, without asking anybody."""

from __future__ import annotations

import logging
from datetime import date
from typing import TYPE_CHECKING

from ...errors import KindMismatchError
from ...model.bars import Bar, BarTable, merge
from ...model.coverage import Coverage
from ...model.frame import build_frame
from ...model.instant import date_of
from ...model.instrument import Instrument
from ...model.series import SeriesKey
from ...model.span import Span
from ...prices.adjustment import ClosesBefore, common_as_of, rebase
from ..prior import PriorSessions, parts_of
from ..store import BarStore
from .catalog import Catalogue

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


def stored_frame(
    catalogue: Catalogue, key: SeriesKey, span: Span, instrument: Instrument
) -> pd.DataFrame | None:
    """Return the rows stored in ``span`` as a canonical frame, or None when there are none.

    Prices of stocks are brought to one basis, adjusted for all splits known, where the stored actions
    make that exact; otherwise they are as they were handed in. Rows that cannot be bars are among
    them where nothing better is stored, and so is the last bar of an older tool's file.
    """
    store = catalogue.store
    table, coverage = store.read(key, span)
    if instrument.asset_class == "stock" and len(table):
        table = _on_one_basis(store, key, table, coverage, instrument)
    table = merge(catalogue.unproven(key, span), table)
    suspects = store.suspects(key, span)
    if suspects:
        log.warning("%s: %d of the rows cannot be bars: %s", key, len(suspects), suspects[0].reason)
        rows: dict[int, Bar] = {s.bar.stamp_ms: s.bar for s in suspects}
        table = merge(BarTable.from_bars(list(rows.values())), table)
    return build_frame(table) if len(table) else None


def _on_one_basis(
    store: BarStore, key: SeriesKey, table: BarTable, coverage: Coverage, instrument: Instrument
) -> BarTable:
    parts, book = parts_of(coverage), store.actions(key.symbol)
    if len({part.basis for part in parts}) <= 1 and not book.actions:
        return table
    as_of = book.newest(max(date_of(int(table.stamps[-1])), common_as_of(parts) or date.min))
    first = date_of(int(table.stamps[0]))
    ex_dates = [a.ex_date for a in book.told if a.type == "dividend" and a.ex_date >= first]
    prior = PriorSessions(store, key, instrument, ex_dates)
    own = book.of if book.disputed else None
    try:
        return rebase(
            table,
            parts,
            book.actions,
            "split",
            as_of=as_of,
            own=own,
            intraday=key.timeframe.is_intraday,
            timeframe=key.timeframe,
            close_before=ClosesBefore(book.actions, as_of, prior.before, own),
        )
    except KindMismatchError as exc:
        log.warning("%s: prices are given as they were stored: %s", key, exc)
        return table

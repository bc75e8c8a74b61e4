"""A stored series as a lazy frame, which reads only the columns and times that a query needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextvars import copy_context
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from ..bars.client import Wishes
from ..data_manager import DataManager, get_data_manager
from ..errors import DataError, QueryError
from ..model.bars import PRICES
from ..model.caller import called_from, working_for
from ..model.coverage import WITH_BARS
from ..model.instant import to_ms
from ..model.interchange import to_polars
from ..model.provenance import ATTRS_KEY
from ..model.query import EXTRA_COLUMNS
from ..model.span import Span
from .predicate import ANY_TIME, TimeBounds, time_bounds

if TYPE_CHECKING:
    import pandas as pd

    from ..bars.client import BarsClient
    from ..model.query import BarsQuery
    from ..model.series import SeriesKey

__all__ = ["scan_series"]

_TIME, _ADJUSTED = "timestamp", "adj_close"
_STAMP = pl.Datetime("us")
_TYPES: dict[str, pl.DataType] = {
    _ADJUSTED: pl.Float64(),
    "source": pl.String(),
    "state": pl.String(),
    "is_final": pl.Boolean(),
    "fetched_at": _STAMP,
    "dividend": pl.Float64(),
    "split": pl.Float64(),
}


def scan_series(
    symbol: str,
    timeframe: str,
    *,
    manager: DataManager | None = None,
    columns: Sequence[str] = (),
    adjustment: str = "split",
    provider: str | None = None,
    session: str = "regular",
) -> pl.LazyFrame:
    """Return the stored bars of a series as a lazy frame; no vendor is queried.

    Each ``collect`` reads the bars that are stored at that time, from the first to the last one, as
    ``get_ohlcv`` with ``offline=True`` returns them. Only the selected columns are
    converted, and a filter that compares ``timestamp`` with fixed times restricts which bars are
    read. Bars that are built from shorter ones are all built before they are filtered. The reads
    are recorded in the ``lineage`` in which this function is called.

    Args:
        symbol, timeframe: See ``get_ohlcv``.
        manager: Data manager that reads the bars, or None for the one that ``get_data_manager``
            returns.
        columns: Further columns, as in ``get_ohlcv``: ``source``, ``state``, ``is_final``,
            ``fetched_at``, ``dividend``, ``split``; also ``adj_close``. They are only computed if a
            query selects them.
        adjustment, provider, session: See ``get_ohlcv``.

    Returns:
        ``timestamp`` (``Datetime("us")``, naive UTC, the bar's opening time; for daily bars, 00:00
        of the session date), ``open high low close volume`` (``Float64``, NaN if unknown) and the
        further columns (``Float64``, ``String``, ``Boolean``, ``Datetime("us")``), ascending.

    Raises:
        QueryError: An argument is invalid.
        UnknownProviderError: The vendor does not exist.
        AllProvidersFailedError, NoProviderError: Nothing is stored for the series, now or when the
            frame is collected. A misspelled symbol therefore does not produce an empty frame.

    Warns:
        IncompleteDataWarning: Bars are missing between the stored ones; issued when the frame is
            collected, for the line that calls this function.
    """
    if manager is not None and not isinstance(manager, DataManager):
        raise QueryError(
            f"manager must be a DataManager, not {type(manager).__name__}",
            hint="omit it to use the one that get_data_manager() returns",
        )
    names = _check_columns(columns)
    wishes = Wishes(provider, adjustment, offline=True, session=session)
    client = (get_data_manager() if manager is None else manager).client
    series = _StoredSeries(client, symbol, timeframe, wishes, names)
    series.check()
    return register_io_source(series.rows, schema=series.schema)


def _check_columns(columns: Any) -> tuple[str, ...]:
    """Return the names of the further columns.

    Raises:
        QueryError: The columns are not a list of such names.
    """
    if isinstance(columns, str) or not isinstance(columns, Sequence):
        raise QueryError(f"columns must be a list of names, not {columns!r:.80}")
    for name in columns:
        if not isinstance(name, str) or name not in _TYPES:
            raise QueryError(
                f"unknown extra column {name!r:.80}", hint=f"use some of {', '.join(_TYPES)}"
            )
    return tuple(dict.fromkeys(columns))


class _Bars(NamedTuple):
    """The bars that were read (None if there are none), and whether all are within the bounds."""

    frame: pd.DataFrame | None
    is_within: bool = False


class _StoredSeries:
    """A series to be read again for each query. Thread-safe.

    Warnings point to the line that created the object, and a lineage that is open there records its
    reads.
    """

    def __init__(
        self, client: BarsClient, symbol: str, timeframe: str, wishes: Wishes, extra: Sequence[str]
    ) -> None:
        self._client, self._wishes = client, wishes
        self._named = symbol, timeframe
        self._caller, self._context = called_from(), copy_context()
        self.schema: dict[str, pl.DataType] = {
            _TIME: _STAMP,
            **dict.fromkeys((*PRICES, "volume"), pl.Float64()),
            **{name: _TYPES[name] for name in extra},
        }

    def check(self) -> None:
        """Raise the error of ``get_ohlcv`` if an argument is invalid or nothing is stored."""
        query = self._query(())
        if self._find_stored(query)[1] is None:
            self._client.get(query)

    def rows(
        self, columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _: Any
    ) -> Iterator[pl.DataFrame]:
        """Yield the bars that a query needs, as currently stored."""
        wanted = list(self.schema) if columns is None else columns
        # Polars calls this in a thread of its own.
        yield self._context.copy().run(self._select_bars, wanted, predicate, n_rows)

    def _select_bars(
        self, columns: Sequence[str], predicate: pl.Expr | None, n_rows: int | None
    ) -> pl.DataFrame:
        """Return the bars that the filter selects from the first ``n_rows`` bars, or from all."""
        bounds = time_bounds(predicate, _TIME) if n_rows is None else ANY_TIME
        with working_for(self._caller):
            bars = self._read(columns, bounds)
        frame = self._table(bars.frame, columns)
        frame = frame if n_rows is None else frame.head(n_rows)
        if predicate is None or (n_rows is None and bars.is_within and bounds.is_exact):
            return frame
        return frame.filter(predicate)

    def _query(self, columns: Collection[str]) -> BarsQuery:
        wishes = replace(self._wishes, columns=[n for n in EXTRA_COLUMNS if n in columns])
        return self._client.query(*self._named, wishes=wishes)

    def _find_stored(self, query: BarsQuery) -> tuple[SeriesKey, Span | None, bool]:
        """Return the answering series, the span of its stored bars, and whether the bars are its own.

        If they are not, other stored bars are used instead, or bars are built from shorter ones.
        The span is None if nothing is stored.
        """
        key = self._client.series_of(query)
        if span := self._extent([key]):
            return key, span.clip(Span(span.start, query.span.end)), True
        symbol = query.instrument.symbol
        keys = self._client.lanes(symbol, query.timeframe)
        keys = keys or [series for series in self._client.series() if series.symbol == symbol]
        if span := self._extent(keys):
            return key, span.clip(Span(span.start, query.span.end)), False
        return key, None, False

    def _extent(self, keys: Sequence[SeriesKey]) -> Span | None:
        """Return the span from the first to the last known bar of some series."""
        spans = [c.span for k in keys for c in self._client.coverage(k) if c.state in WITH_BARS]
        return Span(min(spans).start, max(p.end for p in spans)) if spans else None

    def _read(self, columns: Collection[str], bounds: TimeBounds) -> _Bars:
        """Return at least the stored bars within the bounds."""
        query = self._query(columns)
        key, extent, is_own = self._find_stored(query)
        if extent is None:  # raises the error of get_ohlcv
            return _Bars(self._client.get(query))
        whole = replace(query, bars=None, span=extent)
        span = _clip_span(extent, bounds)
        if span.is_empty:
            return _Bars(None, True)
        narrow = replace(whole, span=span)
        if is_own and span != extent and self._client.series_of(narrow) == key:
            try:
                frame = self._client.get(narrow)
            except DataError:
                return _Bars(self._client.get(whole))
            # If other bars had to answer for a part, they might not answer for the whole.
            if frame.attrs[ATTRS_KEY].get("lane") == key.folder:
                return _Bars(frame, True)
        return _Bars(self._client.get(whole), span == extent)

    def _table(self, frame: pd.DataFrame | None, columns: Iterable[str]) -> pl.DataFrame:
        schema = {name: self.schema[name] for name in columns}
        if frame is None or not len(frame):
            return pl.DataFrame(schema=schema)
        rows = to_polars(frame)  # copies no numbers, so selecting columns first would take longer
        # One column at a time: a query of several would wait for the threads of the caller's query.
        return pl.DataFrame(
            [
                rows[name].cast(dtype) if name in rows.columns else _nans(name, len(rows))
                for name, dtype in schema.items()
            ]
        )


def _nans(name: str, count: int) -> pl.Series:
    return pl.Series(name, np.full(count, np.nan))


def _clip_span(span: Span, bounds: TimeBounds) -> Span:
    """Return the part of a span whose stamps are within the bounds."""
    start, end = span
    if bounds.low is not None:  # the first whole millisecond from there on
        start = max(start, to_ms(bounds.low) + (bounds.low.microsecond % 1000 > 0))
    if bounds.high is not None:
        end = min(end, to_ms(bounds.high) + 1)
    return Span(start, max(start, end))

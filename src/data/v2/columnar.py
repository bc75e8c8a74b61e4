"""Frames with only the columns that a strategy needs, from the store or from ``prices_v2``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from ..data_manager import DataManager, get_data_manager
from ..errors import NoDataAvailableError, QueryError
from ..layer.frames import pl  # its error names the missing extra
from ..model.bars import PRICES
from ..model.instant import from_ms
from ..model.interchange import to_polars
from ..model.timeframe import Timeframe
from .calls import in_thread
from .frames import bounds_ms

__all__ = ["NUMBERS", "ColumnarDataLoader", "StoredRows", "checked_columns"]

_TIME, _DATE, _VOLUME, _ADJUSTED = "timestamp", "date", "volume", "adj_close"
NUMBERS = (*PRICES, _VOLUME, _ADJUSTED)
_COLUMNS = (_TIME, _DATE, *NUMBERS)
_STAMP = pl.Datetime("us")


class ColumnarDataLoader:
    """Loads only the columns that a strategy needs, for one series at a time.

    Args:
        db_session: Session, asynchronous or not, of a database with the table ``prices_v2``, which
            is then read as it is: each bar of a share is adjusted for the splits that were known
            when it was copied. None means the bars of the data manager, fetched if they are
            missing.
        manager: Data manager to use without a session; None means
            :func:`~onetape.data.get_data_manager`, called on first use.

    Raises:
        QueryError: The manager is not a data manager, or a session is given as well.
    """

    def __init__(self, db_session: Any = None, *, manager: DataManager | None = None) -> None:
        if manager is not None and not isinstance(manager, DataManager):
            raise QueryError(f"manager is a {type(manager).__name__}, not a data manager")
        if manager is not None and db_session is not None:
            raise QueryError("bars come from a session or from a manager; pass only one of them")
        self.db, self._manager = db_session, manager

    async def load_minimal_data(
        self,
        symbol: str,
        timeframe: str,
        start: date | datetime,
        end: date | datetime,
        required_columns: Sequence[str],
    ) -> pl.DataFrame:
        """Return the required columns of the bars from ``start`` to ``end``, both inclusive.

        Args:
            symbol: Symbol; if a session is set, in the spelling of the table.
            timeframe: Timeframe, such as ``1d``.
            start, end: Dates or times; naive times are UTC.
            required_columns: Some of ``timestamp`` (``Datetime("us")``, naive UTC, the bar's opening time),
                ``date`` (``Date``, the date of ``timestamp``), ``open``, ``high``, ``low``,
                ``close``, ``adj_close`` (``Float64``) and ``volume`` (``Int64`` if every value is
                whole, otherwise ``Float64``); repetitions count once.

        Returns:
            The columns in the order given, the bars in ascending order. If there are no bars, the
            frame has no rows.

        Raises:
            QueryError: A column, the timeframe or the range is invalid; nothing was read.
            DataError: As for ``get_ohlcv``, or the database cannot be read.
        """
        names = checked_columns(required_columns, _COLUMNS)
        parsed = Timeframe.parse(timeframe)
        bounds = bounds_ms(start, end)
        first, last = map(from_ms, bounds)
        if self.db is None:
            numbers = _sources(names)[1:]
            rows = StoredRows(symbol, timeframe, start, end, numbers, self._manager)
            frame = await in_thread(rows, looks=True)
        else:
            from ..db.core.sessions import run
            from ..db.prices import price_columns

            loaded = await run(
                self.db, price_columns, symbol, str(parsed), (first, last), _sources(names)
            )
            frame = _frame_of(loaded, _sources(names))
        return _shape(frame, names)


class StoredRows:
    """Loads the rows of a series, or some of them, from the store. Picklable without a manager.

    If bars are missing, the rows and warnings are those of ``get_ohlcv``, which fetches them.
    ``adj_close`` is the close if the vendor has none and the instrument cannot pay dividends.

    Args:
        symbol, timeframe, start, end: See ``get_ohlcv``; a date as end includes its day.
        columns: Columns to read in addition to the times, in this order.
        manager: Data manager; None means the one of ``get_data_manager``.
    """

    def __init__(
        self,
        symbol: str,
        timeframe: str,
        start: date | datetime,
        end: date | datetime,
        columns: Sequence[str],
        manager: DataManager | None = None,
    ) -> None:
        self._series, self._bounds = (symbol, timeframe), (start, end)
        self._columns, self._manager = tuple(columns), manager
        Timeframe.parse(timeframe)
        bounds_ms(start, end)

    def __call__(self) -> pl.DataFrame:
        """Return all rows."""
        return self._rows().collect()

    def load_slice(self, start: int, length: int | None = None) -> pl.DataFrame:
        """Return rows ``start`` to ``start + length``; a negative start counts from the end."""
        return self._rows().slice(start, length).collect()

    def _rows(self) -> pl.LazyFrame:
        client = (self._manager or get_data_manager()).client
        query = client.query(*self._series, *self._bounds)
        try:
            rows = to_polars(client.get(query)).lazy()
        except NoDataAvailableError:
            numbers = dict.fromkeys(self._columns, pl.Float64)
            return pl.LazyFrame(schema={_TIME: _STAMP, **numbers})
        rows = rows.with_columns(pl.col(_TIME).cast(_STAMP))
        if _ADJUSTED not in rows.collect_schema():
            rows = rows.with_columns(pl.lit(float("nan")).alias(_ADJUSTED))
        if query.instrument.asset_class != "stock":
            rows = rows.with_columns(pl.col(_ADJUSTED).fill_nan(pl.col("close")))
        return rows.select(_TIME, *self._columns)


def checked_columns(columns: Any, known: Sequence[str]) -> list[str]:
    """Check a list of column names, and return each name once.

    Raises:
        QueryError: The columns are not a list of ``known`` names.
    """
    if isinstance(columns, str) or not isinstance(columns, Sequence) or not columns:
        raise QueryError(f"the columns must be a list of names, not {columns!r:.80}")
    for name in columns:
        if name not in known:
            raise QueryError(f"unknown column {name!r:.80}", hint=f"use {', '.join(known)}")
    return list(dict.fromkeys(columns))


def _sources(names: Sequence[str]) -> list[str]:
    """Return the columns to read: the time, then those numeric columns that are named."""
    return [_TIME, *(name for name in names if name in NUMBERS)]


def _frame_of(rows: Sequence[Any], names: Sequence[str]) -> pl.DataFrame:
    columns = zip(*rows, strict=True) if rows else ((),) * len(names)
    return pl.DataFrame(
        [
            pl.Series(name, [time.replace(tzinfo=None) for time in values], _STAMP)
            if name == _TIME
            else pl.Series(
                name, [None if value is None else float(value) for value in values], pl.Float64
            )
            for name, values in zip(names, columns, strict=True)
        ]
    )


def _shape(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return the named columns of a frame, in this order and with their types."""
    frame = frame.with_columns(pl.col(_TIME).dt.date().alias(_DATE))
    rows = frame.select(
        pl.col(name).fill_nan(None) if name in (_VOLUME, _ADJUSTED) else pl.col(name)
        for name in names
    )
    if _VOLUME in names:
        volume = rows[_VOLUME]
        is_whole = (
            not volume.null_count() and ((volume == volume.floor()) & (volume < 2.0**53)).all()
        )
        rows = rows.with_columns(volume.cast(pl.Int64)) if is_whole else rows
    return rows

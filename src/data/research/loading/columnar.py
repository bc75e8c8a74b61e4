"""Frames with only the columns that a strategy needs, from the data manager or from ``prices_v2``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from ...core.model.market.bars import PRICES
from ...core.model.time.instant import from_ms
from ...core.model.time.timeframe import Timeframe
from ...data_manager import DataManager, get_data_manager
from ...errors import QueryError
from ..calls import prices
from ..frames.frames import pl  # its error names the missing extra
from ..frames.prices import bounds_ms, volumes

__all__ = ["ColumnarDataLoader"]

_NUMBERS = (*PRICES, "volume", "adj_close")
_COLUMNS = ("timestamp", "date", *_NUMBERS)


class ColumnarDataLoader:
    """Loads only the columns that a strategy needs, for one series at a time.

    Args:
        db_session: Session, asynchronous or not, of a database with the table ``prices_v2``, which
            is then read as it is: each bar of a share is adjusted for the splits that were known
            when it was copied. None means the bars of the data manager, fetched if they are
            missing.
        manager: Data manager to use without a session; None means
            :func:`~onetape.get_data_manager`, called on first use.

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
        names = _checked_columns(required_columns)
        parsed, (first_ms, last_ms) = Timeframe.parse(timeframe), bounds_ms(start, end)
        if self.db is None:
            manager = self._manager or get_data_manager()
            frame = await prices(manager, symbol, timeframe, start, end)
        else:
            bounds = from_ms(first_ms), from_ms(last_ms)
            frame = await self._load(symbol, str(parsed), bounds, names)
        time = pl.col(frame.columns[0])
        stamps = time.cast(pl.Datetime("us")).alias("timestamp")
        return frame.with_columns(stamps, time.cast(pl.Date).alias("date")).select(names)

    async def _load(
        self, symbol: str, timeframe: str, bounds: tuple[datetime, datetime], names: Sequence[str]
    ) -> pl.DataFrame:
        """Return the times and the named numbers of the table's rows."""
        from ...db.core.sessions import run  # only programs with a database have the extra
        from ...db.prices import price_columns

        columns = ["timestamp", *(name for name in names if name in _NUMBERS)]
        rows = await run(self.db, price_columns, symbol, timeframe, bounds, columns)
        schema = {name: pl.Float64() for name in columns} | {"timestamp": pl.Datetime("us", "UTC")}
        frame = pl.DataFrame([tuple(row) for row in rows], schema, orient="row", strict=False)
        if "volume" in frame.columns:
            frame = frame.with_columns(volumes(frame["volume"].to_numpy()))
        return frame.with_columns(pl.col("timestamp").dt.replace_time_zone(None))


def _checked_columns(columns: Any) -> list[str]:
    """Return each name once; raises ``QueryError`` unless they are a list of known names."""
    if isinstance(columns, str) or not isinstance(columns, Sequence) or not columns:
        raise QueryError(f"the columns must be a list of names, not {columns!r:.80}")
    for name in columns:
        if name not in _COLUMNS:
            raise QueryError(f"unknown column {name!r:.80}", hint=f"use {', '.join(_COLUMNS)}")
    return list(dict.fromkeys(columns))

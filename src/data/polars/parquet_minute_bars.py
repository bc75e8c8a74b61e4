"""The reader of a bundle's minute bars."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import pandas as pd
import polars as pl

from ..errors import QueryError
from .parquet_reader import ParquetReader
from .schemas import FIELDS

__all__ = ["PolarsParquetMinuteReader"]


class PolarsParquetMinuteReader(ParquetReader):
    """Reads ``minute_bars`` of a bundle: ``timestamp`` (UTC), ``sid`` and Decimal columns. Thread-safe.

    Args:
        parquet_dir: the folder ``minute_bars``, or the bundle.
        enable_cache: as of the daily reader.
        disk: reads; None: the file system.
    """

    frequency = "minute"

    def load_minute_bars(
        self,
        sids: Sequence[int],
        start_dt: Any,
        end_dt: Any,
        fields: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Return what :meth:`load_raw_arrays` gives, collected; None: all five fields."""
        return self._load(sids, start_dt, end_dt, fields)

    def load_trading_day(
        self, sids: Sequence[int], day: date | str, fields: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """Return the bars of one UTC day."""
        one = pd.Timestamp(day).date()
        return self._load(sids, one, one, fields)

    def load_daily_bars(
        self,
        sids: Sequence[int],
        start_date: Any,
        end_date: Any,
        fields: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Return a bar for each UTC day and series, made of its minutes; a day without one has none.

        The open is that of the first minute that has one, the close that of the last; the volume is the
        sum. Days of sessions that go over midnight in UTC are those of the portal, which has a calendar.

        Args:
            sids: numbers of the series.
            start_date, end_date: days, inclusive; of an instant its UTC day. None: no bound.
            fields: some of ``open high low close volume``; None: all.

        Returns:
            ``date``, ``sid`` and the fields, sorted by sid and date; the volume is ``Decimal(38, 8)``
            where one does not fit into 18 digits.

        Raises:
            QueryError, BundleNotFoundError, BundleError, FormatVersionError: as :meth:`load_raw_arrays`.
        """
        names = FIELDS if fields is None else tuple(dict.fromkeys(fields))
        if wrong := [name for name in names if name not in FIELDS]:
            raise QueryError(
                f"a day has no {wrong[0]!r} of its minutes", hint=f"fields are {', '.join(FIELDS)}"
            )
        return self._daily(sids, start_date, end_date).select("date", "sid", *names)

    def get_first_available_datetime(self, sid: int) -> pd.Timestamp | None:
        """Return the open of the first bar of a series; None where it has none."""
        return self._nearest(sid, None, pl.lit(True), is_first=True)

    def get_last_available_datetime(self, sid: int) -> pd.Timestamp | None:
        """Return the open of the last bar of a series; None where it has none."""
        return self._nearest(sid, None, pl.lit(True))

"""The reader of a bundle's minute bars."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import pandas as pd

from ..errors import QueryError
from ..layer.frames import FIELDS, pl
from .parquet_reader import ParquetReader

__all__ = ["PolarsParquetMinuteReader"]


class PolarsParquetMinuteReader(ParquetReader):
    """Reads a bundle's minute bars, with columns ``timestamp`` (UTC), ``sid`` and Decimals.

    Thread-safe.

    Args:
        parquet_dir: Folder of the bundle, or its ``minute_bars`` folder.
        enable_cache: Whether to keep a series in memory, until its file changes, after a single
            value was read from it.
        disk: File access; None is the file system.
    """

    frequency = "minute"

    def load_minute_bars(
        self,
        sids: Sequence[int],
        start_dt: Any,
        end_dt: Any,
        fields: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Return the collected result of :meth:`load_raw_arrays`; by default, all five fields."""
        return self._load(sids, start_dt, end_dt, fields)

    def load_trading_day(
        self, sids: Sequence[int], day: date | str, fields: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """Return the bars of one UTC day."""
        moment = pd.Timestamp(day).date()
        return self._load(sids, moment, moment, fields)

    def load_daily_bars(
        self,
        sids: Sequence[int],
        start_date: Any,
        end_date: Any,
        fields: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Return a daily bar for each series and UTC day, built from the minute bars.

        A day without minute bars has no bar. The open is the first open that is not null, the close
        is the last close, and the volume is the sum. For sessions that cross midnight UTC, use the
        portal, which has a calendar.

        Args:
            sids: Numbers of the series.
            start_date, end_date: Days, inclusive; an instant means its UTC day. None means no bound.
            fields: Some of ``open high low close volume``; None means all.

        Returns:
            ``date``, ``sid`` and the fields, sorted by sid and date; the volume is ``Decimal(38,
            8)`` if a value does not fit into 18 digits.

        Raises:
            QueryError, BundleNotFoundError, BundleError, FormatVersionError: See
                :meth:`load_raw_arrays`.
        """
        names = FIELDS if fields is None else tuple(dict.fromkeys(fields))
        if wrong := [name for name in names if name not in FIELDS]:
            raise QueryError(
                f"unknown bar field {wrong[0]!r}",
                hint=f"use one of {', '.join(FIELDS)}",
            )
        return self._daily(sids, start_date, end_date).select("date", "sid", *names)

    def get_first_available_datetime(self, sid: int) -> pd.Timestamp | None:
        """Return the opening time of the first bar in a series, or None if the series is empty."""
        return self._bar_near(sid, None, pl.lit(True), is_first=True)

    def get_last_available_datetime(self, sid: int) -> pd.Timestamp | None:
        """Return the opening time of the last bar in a series, or None if the series is empty."""
        return self._bar_near(sid, None, pl.lit(True))

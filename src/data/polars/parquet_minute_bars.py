"""The reader of a bundle's minute bars."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import pandas as pd
import polars as pl

from .parquet_reader import ParquetReader

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

    def get_first_available_datetime(self, sid: int) -> pd.Timestamp | None:
        """Return the open of the first bar of a series; None where it has none."""
        return self._nearest(sid, None, pl.lit(True), is_first=True)

    def get_last_available_datetime(self, sid: int) -> pd.Timestamp | None:
        """Return the open of the last bar of a series; None where it has none."""
        return self._nearest(sid, None, pl.lit(True))

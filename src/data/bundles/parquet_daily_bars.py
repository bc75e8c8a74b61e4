"""The reader of a bundle's daily bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ..layer.frames import pl
from .parquet_reader import ParquetReader

__all__ = ["PolarsParquetDailyReader"]


class PolarsParquetDailyReader(ParquetReader):
    """Reads a bundle's daily bars, with columns ``date``, ``sid`` and Decimals. Thread-safe.

    Args:
        parquet_dir: Folder of the bundle, or its ``daily_bars`` folder.
        enable_cache: Whether to keep a series in memory, until its file changes, after a single
            value was read from it.
        disk: File access; None is the file system.
    """

    frequency = "daily"

    def load_daily_bars(
        self,
        sids: Sequence[int],
        start_date: Any,
        end_date: Any,
        fields: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Return the collected result of :meth:`load_raw_arrays`; by default, all five fields."""
        return self._load(sids, start_date, end_date, fields)

    def get_first_available_date(self, sid: int) -> pd.Timestamp | None:
        """Return the day of the first bar in a series, or None if the series is empty."""
        return self._bar_near(sid, None, pl.lit(True), is_first=True)

    def get_last_available_date(self, sid: int) -> pd.Timestamp | None:
        """Return the day of the last bar in a series, or None if the series is empty."""
        return self._bar_near(sid, None, pl.lit(True))

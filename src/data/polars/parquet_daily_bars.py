"""The documented import path of the reader of a bundle's daily bars."""

from ..bundles.parquet_daily_bars import PolarsParquetDailyReader

__all__ = ["PolarsParquetDailyReader"]

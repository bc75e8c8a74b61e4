"""The documented import path of the reader of a bundle's minute bars."""

from ..bundles.parquet_minute_bars import PolarsParquetMinuteReader

__all__ = ["PolarsParquetMinuteReader"]

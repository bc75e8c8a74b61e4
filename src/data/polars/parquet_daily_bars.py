"""The documented import path of the reader of a bundle's daily bars."""

from ..layer.bundle_reader import PolarsParquetDailyReader

__all__ = ["PolarsParquetDailyReader"]

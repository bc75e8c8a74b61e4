"""The documented import path of the reader of a bundle's minute bars."""

from ..layer.bundle_reader import PolarsParquetMinuteReader

__all__ = ["PolarsParquetMinuteReader"]

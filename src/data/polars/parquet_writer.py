"""The documented import path of the writer of a bundle's Parquet files."""

from ..layer.bundle_writer import ParquetWriter

__all__ = ["ParquetWriter"]

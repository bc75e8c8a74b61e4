"""The documented import path of the writer of a bundle's Parquet files."""

from ..bundles.parquet_writer import ParquetWriter

__all__ = ["ParquetWriter"]

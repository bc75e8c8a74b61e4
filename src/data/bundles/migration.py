"""The documented import path of the migration of HDF5 files."""

from ..layer.migration import HDF5ToParquetMigrator

__all__ = ["HDF5ToParquetMigrator"]

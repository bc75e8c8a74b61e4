"""The documented import path of the migration of HDF5 files."""

from ..layer.migration import DAYS_TO_REVERT, HDF5ToParquetMigrator, hdf5_bundles

__all__ = ["DAYS_TO_REVERT", "HDF5ToParquetMigrator", "hdf5_bundles"]

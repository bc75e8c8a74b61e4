"""Stored bars and bundles as lazy Polars frames, as tables for SQL, the catalog, and HDF5 files.

This package is provisional: a minor release may change its names and results.
"""

from __future__ import annotations

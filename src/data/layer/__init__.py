"""Stored bars and bundles as lazy frames and SQL tables, the catalog, HDF5 files, cached frames.

This package is provisional: a minor release may change its names and results.
"""

from __future__ import annotations

"""The layer over stored bars: here, the bars in HDF5 files of other programs as bundles.

This package is provisional: a minor release may change its names and results.
"""

from __future__ import annotations

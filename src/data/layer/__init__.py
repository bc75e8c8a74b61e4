"""Polars frames above the stored bars: what is kept of them, and how they are read.

This package is provisional: a minor release may change its names and results.
"""

from __future__ import annotations

"""Stored bars and bundles as lazy Polars frames, and as tables for SQL.

This package is provisional: a minor release may change its names and results.
"""

from __future__ import annotations

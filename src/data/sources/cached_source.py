"""The documented import path of sources that cache bars."""

from ..layer.stored import CachedDataSource

__all__ = ["CachedDataSource"]

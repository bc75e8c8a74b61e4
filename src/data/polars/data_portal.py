"""The documented import path of the portal."""

from ..layer.polars_portal import PolarsDataPortal

__all__ = ["PolarsDataPortal"]

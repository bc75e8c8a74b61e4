"""Bundles of bars for backtests, the lineage of the bars that they read, and the catalog.

This package is provisional: a minor release may change its names, results and stored data.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..layer.lineage import LineageRun, Lineages, lineage

if TYPE_CHECKING:
    from ..layer.scan import scan
    from .catalog import DataCatalog

# Names whose modules need Polars are imported only when they are used.
_HOMES = {"DataCatalog": "catalog", "scan": ".layer.scan"}

__all__ = ("DataCatalog", "LineageRun", "Lineages", "lineage", "scan")


def __getattr__(name: str) -> Any:
    """Import a name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)

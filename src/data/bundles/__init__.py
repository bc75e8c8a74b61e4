"""What backtests read, and the files that are made of it: bundles, lineage, the catalog."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .lineage import LineageRun, Lineages, lineage

if TYPE_CHECKING:
    from .catalog import DataCatalog

# What needs Polars is imported when it is named.
_HOMES = {"DataCatalog": "catalog"}

__all__ = ("DataCatalog", "LineageRun", "Lineages", "lineage")


def __getattr__(name: str) -> Any:
    """Resolve a name at its home."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)

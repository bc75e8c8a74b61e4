"""Sources of bars in the words of a backtest: each vendor, the router, and a program's own."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .base import DataSource, DataSourceConfig, DataSourceMetadata

if TYPE_CHECKING:
    from .vendor_source import OnetapeDataSource, SourceAnswer, VendorDataSource

# Where each name lives; what it needs is imported with the first of them.
_HOMES = {
    "OnetapeDataSource": "vendor_source",
    "SourceAnswer": "vendor_source",
    "VendorDataSource": "vendor_source",
}

__all__ = (
    "DataSource",
    "DataSourceConfig",
    "DataSourceMetadata",
    "OnetapeDataSource",
    "SourceAnswer",
    "VendorDataSource",
)


def __getattr__(name: str) -> Any:
    """Resolve a name at its home."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)

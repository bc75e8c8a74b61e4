"""Sources under the names that existing programs use, with the steps of an ingestion.

This package is provisional: a minor release may change its names, results and stored data.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..sources.csv_source import CSVConfig, CSVDataSource, SchemaMapping
    from ..sources.vendors import (
        AlpacaDataSource,
        AlphaVantageDataSource,
        CCXTDataSource,
        PolygonDataSource,
        YFinanceDataSource,
    )
    from .base import BaseDataAdapter
    from .registry import AdapterRegistry
    from .vendors import (
        AlpacaAdapter,
        AlphaVantageAdapter,
        CCXTDataAdapter,
        CSVAdapter,
        PolygonAdapter,
        YFinanceAdapter,
    )
    from .vendors import CCXTDataAdapter as CCXTAdapter
    from .vendors import YFinanceAdapter as YFinanceDataAdapter

# Module of each name; its dependencies are imported on first use.
_HOMES = {
    "AdapterRegistry": ".registry:AdapterRegistry",
    "AlpacaAdapter": ".vendors:AlpacaAdapter",
    "AlpacaDataSource": "..sources.vendors:AlpacaDataSource",
    "AlphaVantageAdapter": ".vendors:AlphaVantageAdapter",
    "AlphaVantageDataSource": "..sources.vendors:AlphaVantageDataSource",
    "BaseDataAdapter": ".base:BaseDataAdapter",
    "CCXTAdapter": ".vendors:CCXTDataAdapter",
    "CCXTDataAdapter": ".vendors:CCXTDataAdapter",
    "CCXTDataSource": "..sources.vendors:CCXTDataSource",
    "CSVAdapter": ".vendors:CSVAdapter",
    "CSVConfig": "..sources.csv_source:CSVConfig",
    "CSVDataSource": "..sources.csv_source:CSVDataSource",
    "PolygonAdapter": ".vendors:PolygonAdapter",
    "PolygonDataSource": "..sources.vendors:PolygonDataSource",
    "SchemaMapping": "..sources.csv_source:SchemaMapping",
    "YFinanceAdapter": ".vendors:YFinanceAdapter",
    "YFinanceDataAdapter": ".vendors:YFinanceAdapter",
    "YFinanceDataSource": "..sources.vendors:YFinanceDataSource",
}

__all__ = (
    "AdapterRegistry",
    "AlpacaAdapter",
    "AlpacaDataSource",
    "AlphaVantageAdapter",
    "AlphaVantageDataSource",
    "BaseDataAdapter",
    "CCXTAdapter",
    "CCXTDataAdapter",
    "CCXTDataSource",
    "CSVAdapter",
    "CSVConfig",
    "CSVDataSource",
    "PolygonAdapter",
    "PolygonDataSource",
    "SchemaMapping",
    "YFinanceAdapter",
    "YFinanceDataAdapter",
    "YFinanceDataSource",
)


def __getattr__(name: str) -> Any:
    """Import a name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(module, __name__), attribute)

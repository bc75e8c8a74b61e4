"""Sources by the names that programs have them under, and the steps of an ingestion."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..sources.csv_source import CSVConfig, CSVDataSource, SchemaMapping
    from ..sources.csv_source import CSVDataSource as CSVAdapter
    from ..sources.vendors import (
        AlpacaDataSource,
        AlphaVantageDataSource,
        CCXTDataSource,
        PolygonDataSource,
        YFinanceDataSource,
    )
    from ..sources.vendors import AlpacaDataSource as AlpacaAdapter
    from ..sources.vendors import AlphaVantageDataSource as AlphaVantageAdapter
    from ..sources.vendors import CCXTDataSource as CCXTAdapter
    from ..sources.vendors import CCXTDataSource as CCXTDataAdapter
    from ..sources.vendors import PolygonDataSource as PolygonAdapter
    from ..sources.vendors import YFinanceDataSource as YFinanceAdapter

# Where each name lives; what it needs is imported with the first of them.
_HOMES = {
    "AlpacaAdapter": "vendors:AlpacaDataSource",
    "AlpacaDataSource": "vendors:AlpacaDataSource",
    "AlphaVantageAdapter": "vendors:AlphaVantageDataSource",
    "AlphaVantageDataSource": "vendors:AlphaVantageDataSource",
    "CCXTAdapter": "vendors:CCXTDataSource",
    "CCXTDataAdapter": "vendors:CCXTDataSource",
    "CCXTDataSource": "vendors:CCXTDataSource",
    "CSVAdapter": "csv_source:CSVDataSource",
    "CSVConfig": "csv_source:CSVConfig",
    "CSVDataSource": "csv_source:CSVDataSource",
    "PolygonAdapter": "vendors:PolygonDataSource",
    "PolygonDataSource": "vendors:PolygonDataSource",
    "SchemaMapping": "csv_source:SchemaMapping",
    "YFinanceAdapter": "vendors:YFinanceDataSource",
    "YFinanceDataSource": "vendors:YFinanceDataSource",
}

__all__ = (
    "AlpacaAdapter",
    "AlpacaDataSource",
    "AlphaVantageAdapter",
    "AlphaVantageDataSource",
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
    "YFinanceDataSource",
)


def __getattr__(name: str) -> Any:
    """Resolve a name at its home."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(f"..sources.{module}", __name__), attribute)

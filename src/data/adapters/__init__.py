"""Sources under the names that existing programs use, with the steps of an ingestion.

This package is provisional: a minor release may change its names, results and stored data.
"""

from ..layer.adapters import (
    AdapterRegistry,
    AlpacaAdapter,
    AlphaVantageAdapter,
    BaseDataAdapter,
    CCXTDataAdapter,
    CSVAdapter,
    PolygonAdapter,
    YFinanceAdapter,
)
from ..layer.adapters import CCXTDataAdapter as CCXTAdapter
from ..layer.adapters import YFinanceAdapter as YFinanceDataAdapter
from ..layer.vendor_sources import (
    AlpacaDataSource,
    AlphaVantageDataSource,
    CCXTDataSource,
    CSVConfig,
    CSVDataSource,
    PolygonDataSource,
    SchemaMapping,
    YFinanceDataSource,
)

__all__ = [
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
]

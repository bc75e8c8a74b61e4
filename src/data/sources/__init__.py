"""Sources of bars for backtests: single vendors, all vendors in the rules, and custom sources.

This package is provisional: a minor release may change its names, results and stored data.
"""

from ..layer.freshness import (
    AlwaysStaleFreshnessPolicy,
    CacheFreshnessPolicy,
    FreshnessPolicyFactory,
    HybridFreshnessPolicy,
    MarketCloseFreshnessPolicy,
    NeverStaleFreshnessPolicy,
    TTLFreshnessPolicy,
)
from ..layer.sources import DataSource, DataSourceConfig, DataSourceMetadata
from ..layer.stored import CachedDataSource
from ..layer.vendor_sources import (
    AlpacaDataSource,
    AlphaVantageDataSource,
    CCXTDataSource,
    CSVConfig,
    CSVDataSource,
    DataSourceRegistry,
    OnetapeDataSource,
    PolygonDataSource,
    SchemaMapping,
    SourceAnswer,
    VendorDataSource,
    YFinanceDataSource,
)

__all__ = [
    "AlpacaDataSource",
    "AlphaVantageDataSource",
    "AlwaysStaleFreshnessPolicy",
    "CCXTDataSource",
    "CSVConfig",
    "CSVDataSource",
    "CacheFreshnessPolicy",
    "CachedDataSource",
    "DataSource",
    "DataSourceConfig",
    "DataSourceMetadata",
    "DataSourceRegistry",
    "FreshnessPolicyFactory",
    "HybridFreshnessPolicy",
    "MarketCloseFreshnessPolicy",
    "NeverStaleFreshnessPolicy",
    "OnetapeDataSource",
    "PolygonDataSource",
    "SchemaMapping",
    "SourceAnswer",
    "TTLFreshnessPolicy",
    "VendorDataSource",
    "YFinanceDataSource",
]

"""Sources of bars for backtests: single vendors, all vendors in the rules, and custom sources.

This package is provisional: a minor release may change its names, results and stored data.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .base import DataSource, DataSourceConfig, DataSourceMetadata

if TYPE_CHECKING:
    from ..layer.stored import CachedDataSource
    from .csv_source import CSVConfig, CSVDataSource, SchemaMapping
    from .freshness import (
        AlwaysStaleFreshnessPolicy,
        CacheFreshnessPolicy,
        FreshnessPolicyFactory,
        HybridFreshnessPolicy,
        MarketCloseFreshnessPolicy,
        NeverStaleFreshnessPolicy,
        TTLFreshnessPolicy,
    )
    from .registry import DataSourceRegistry
    from .vendor_source import OnetapeDataSource, SourceAnswer, VendorDataSource
    from .vendors import (
        AlpacaDataSource,
        AlphaVantageDataSource,
        CCXTDataSource,
        PolygonDataSource,
        YFinanceDataSource,
    )

# The module of each name; modules are imported on first use.
_HOMES = {
    "AlpacaDataSource": "vendors",
    "AlphaVantageDataSource": "vendors",
    "AlwaysStaleFreshnessPolicy": "freshness",
    "CCXTDataSource": "vendors",
    "CSVConfig": "csv_source",
    "CSVDataSource": "csv_source",
    "CacheFreshnessPolicy": "freshness",
    "CachedDataSource": "cached_source",
    "DataSourceRegistry": "registry",
    "FreshnessPolicyFactory": "freshness",
    "HybridFreshnessPolicy": "freshness",
    "MarketCloseFreshnessPolicy": "freshness",
    "NeverStaleFreshnessPolicy": "freshness",
    "OnetapeDataSource": "vendor_source",
    "PolygonDataSource": "vendors",
    "SchemaMapping": "csv_source",
    "SourceAnswer": "vendor_source",
    "TTLFreshnessPolicy": "freshness",
    "VendorDataSource": "vendor_source",
    "YFinanceDataSource": "vendors",
}

__all__ = (
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
)


def __getattr__(name: str) -> Any:
    """Import a name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)

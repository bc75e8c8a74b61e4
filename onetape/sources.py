"""Sources of bars for strategies: vendors, files and your own classes, awaited or not.

A minor release may change these names; ``docs/sources.md`` and ``docs/second-layer.md`` describe them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .public import door

if TYPE_CHECKING:
    # Made by `make lists`.
    from .data.doors.compat.data_validator import (
        DataAwareStrategySelector as DataAwareStrategySelector,
    )
    from .data.doors.compat.data_validator import DataQualityReport as DataQualityReport
    from .data.doors.compat.data_validator import DataQualityScorer as DataQualityScorer
    from .data.doors.compat.data_validator import DataValidator as DataValidator
    from .data.doors.compat.missing_data import MissingDataHandler as MissingDataHandler
    from .data.doors.compat.universe_sync import DataSyncManager as DataSyncManager
    from .data.research.frames.lazy import LazyDataFrame as LazyDataFrame
    from .data.research.loading.columnar import ColumnarDataLoader as ColumnarDataLoader
    from .data.research.loading.data_cache import DataCache as DataCache
    from .data.research.loading.failover import MultiProviderDataManager as MultiProviderDataManager
    from .data.research.loading.failover import ProviderHealthMonitor as ProviderHealthMonitor
    from .data.research.loading.live import LiveDataPipeline as LiveDataPipeline
    from .data.research.loading.loader import SmartDataLoader as SmartDataLoader
    from .data.research.loading.providers import AlphaVantageProvider as AlphaVantageProvider
    from .data.research.loading.providers import DataProvider as DataProvider
    from .data.research.loading.providers import FMPProvider as FMPProvider
    from .data.research.loading.providers import YFinanceProvider as YFinanceProvider
    from .data.research.loading.providers import provider_for as provider_for
    from .data.research.loading.v1 import V1CompatibilityAdapter as V1CompatibilityAdapter
    from .data.research.sources.adapters import BaseDataAdapter as BaseDataAdapter
    from .data.research.sources.cache_manager import CacheManager as CacheManager
    from .data.research.sources.cached_source import CachedDataSource as CachedDataSource
    from .data.research.sources.frame_store import FrameStore as FrameStore
    from .data.research.sources.source_due import (
        AlwaysStaleFreshnessPolicy as AlwaysStaleFreshnessPolicy,
    )
    from .data.research.sources.source_due import CacheFreshnessPolicy as CacheFreshnessPolicy
    from .data.research.sources.source_due import FreshnessPolicyFactory as FreshnessPolicyFactory
    from .data.research.sources.source_due import HybridFreshnessPolicy as HybridFreshnessPolicy
    from .data.research.sources.source_due import (
        MarketCloseFreshnessPolicy as MarketCloseFreshnessPolicy,
    )
    from .data.research.sources.source_due import (
        NeverStaleFreshnessPolicy as NeverStaleFreshnessPolicy,
    )
    from .data.research.sources.source_due import TTLFreshnessPolicy as TTLFreshnessPolicy
    from .data.research.sources.sources import DataSource as DataSource
    from .data.research.sources.sources import DataSourceConfig as DataSourceConfig
    from .data.research.sources.sources import DataSourceMetadata as DataSourceMetadata
    from .data.research.sources.vendor_sources import AlpacaDataSource as AlpacaDataSource
    from .data.research.sources.vendor_sources import (
        AlphaVantageDataSource as AlphaVantageDataSource,
    )
    from .data.research.sources.vendor_sources import CCXTDataSource as CCXTDataSource
    from .data.research.sources.vendor_sources import CSVConfig as CSVConfig
    from .data.research.sources.vendor_sources import CSVDataSource as CSVDataSource
    from .data.research.sources.vendor_sources import DataSourceRegistry as DataSourceRegistry
    from .data.research.sources.vendor_sources import OnetapeDataSource as OnetapeDataSource
    from .data.research.sources.vendor_sources import PolygonDataSource as PolygonDataSource
    from .data.research.sources.vendor_sources import SchemaMapping as SchemaMapping
    from .data.research.sources.vendor_sources import SourceAnswer as SourceAnswer
    from .data.research.sources.vendor_sources import VendorDataSource as VendorDataSource
    from .data.research.sources.vendor_sources import YFinanceDataSource as YFinanceDataSource
else:
    __all__, __getattr__, __dir__ = door(__name__)

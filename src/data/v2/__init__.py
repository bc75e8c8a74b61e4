"""The second data layer (``v2``): awaitable classes with Polars frames, on top of the data manager.

Every name is loaded on first use. A name that needs a missing extra raises an error that names the
extra; ``import *`` leaves out names that need the ``db`` extra.

This package is provisional: a minor release may change its names, results and stored data.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..compat.data_validator import CheckResult as CheckResult
    from ..compat.data_validator import DataAwareStrategySelector as DataAwareStrategySelector
    from ..compat.data_validator import DataQualityReport as DataQualityReport
    from ..compat.data_validator import DataQualityScorer as DataQualityScorer
    from ..compat.data_validator import DataValidator as DataValidator
    from ..compat.missing_data import MissingDataHandler as MissingDataHandler
    from ..compat.universe_sync import DataSyncManager as DataSyncManager
    from ..compat.universe_sync import SyncReport as SyncReport
    from ..compat.validation import ValidationResult as ValidationResult
    from ..db.symbols.processor import CorporateActionsProcessor as CorporateActionsProcessor
    from ..db.universe.definition import UniverseDefinition as UniverseDefinition
    from ..db.universe.manager import UniverseManager as UniverseManager
    from ..errors import DataProviderError as DataProviderError
    from .cache import DataCache as DataCache
    from .columnar import ColumnarDataLoader as ColumnarDataLoader
    from .failover import HealthStatus as HealthStatus
    from .failover import MultiProviderDataManager as MultiProviderDataManager
    from .failover import ProviderHealthMonitor as ProviderHealthMonitor
    from .lazy import LazyDataFrame as LazyDataFrame
    from .loader import SmartDataLoader as SmartDataLoader
    from .pipeline import LiveDataPipeline as LiveDataPipeline
    from .pipeline import PipelineBar as PipelineBar
    from .providers import AlphaVantageProvider as AlphaVantageProvider
    from .providers import DataProvider as DataProvider
    from .providers import FMPProvider as FMPProvider
    from .providers import VendorProvider as VendorProvider
    from .providers import YFinanceProvider as YFinanceProvider
    from .providers import provider_for as provider_for
    from .v1 import V1CompatibilityAdapter as V1CompatibilityAdapter

# Maps each name to its module.
_HOMES = {
    "AlphaVantageProvider": "v2.providers",
    "CheckResult": "compat.data_validator",
    "ColumnarDataLoader": "v2.columnar",
    "CorporateActionsProcessor": "db.symbols.processor",
    "DataAwareStrategySelector": "compat.data_validator",
    "DataCache": "v2.cache",
    "DataProvider": "v2.providers",
    "DataProviderError": "errors",
    "DataQualityReport": "compat.data_validator",
    "DataQualityScorer": "compat.data_validator",
    "DataSyncManager": "compat.universe_sync",
    "DataValidator": "compat.data_validator",
    "FMPProvider": "v2.providers",
    "HealthStatus": "v2.failover",
    "LazyDataFrame": "v2.lazy",
    "LiveDataPipeline": "v2.pipeline",
    "MissingDataHandler": "compat.missing_data",
    "MultiProviderDataManager": "v2.failover",
    "PipelineBar": "v2.pipeline",
    "ProviderHealthMonitor": "v2.failover",
    "SmartDataLoader": "v2.loader",
    "SyncReport": "compat.universe_sync",
    "UniverseDefinition": "db.universe.definition",
    "UniverseManager": "db.universe.manager",
    "V1CompatibilityAdapter": "v2.v1",
    "ValidationResult": "compat.validation",
    "VendorProvider": "v2.providers",
    "YFinanceProvider": "v2.providers",
    "provider_for": "v2.providers",
}

__all__ = [
    "AlphaVantageProvider",
    "CheckResult",
    "ColumnarDataLoader",
    "DataAwareStrategySelector",
    "DataCache",
    "DataProvider",
    "DataProviderError",
    "DataQualityReport",
    "DataQualityScorer",
    "DataSyncManager",
    "DataValidator",
    "FMPProvider",
    "HealthStatus",
    "LazyDataFrame",
    "LiveDataPipeline",
    "MissingDataHandler",
    "MultiProviderDataManager",
    "PipelineBar",
    "ProviderHealthMonitor",
    "SmartDataLoader",
    "SyncReport",
    "V1CompatibilityAdapter",
    "ValidationResult",
    "VendorProvider",
    "YFinanceProvider",
    "provider_for",
]


def __getattr__(name: str) -> Any:
    """Import a name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"..{_HOMES[name]}", __name__), name)

"""The documented import path of the second data layer: awaitable classes with Polars frames.

The names need the extra ``polars``; a name that needs the extra ``db`` is imported on first use,
and ``import *`` leaves it out.

This package is provisional: a minor release may change its names, results and stored data.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..compat.data_validator import (
    CheckResult,
    DataAwareStrategySelector,
    DataQualityReport,
    DataQualityScorer,
    DataValidator,
)
from ..compat.missing_data import MissingDataHandler
from ..compat.universe_sync import DataSyncManager, SyncReport
from ..compat.validation import ValidationResult
from ..errors import DataProviderError
from ..layer.columnar import ColumnarDataLoader
from ..layer.data_cache import DataCache
from ..layer.failover import HealthStatus, MultiProviderDataManager, ProviderHealthMonitor
from ..layer.lazy import LazyDataFrame
from ..layer.live import LiveDataPipeline, PipelineBar
from ..layer.loader import SmartDataLoader
from ..layer.providers import (
    AlphaVantageProvider,
    DataProvider,
    FMPProvider,
    VendorProvider,
    YFinanceProvider,
    provider_for,
)
from ..layer.v1 import V1CompatibilityAdapter

if TYPE_CHECKING:
    from ..db.symbols.processor import CorporateActionsProcessor as CorporateActionsProcessor
    from ..db.universe.definition import UniverseDefinition as UniverseDefinition
    from ..db.universe.manager import UniverseManager as UniverseManager

# Maps each name that needs the extra `db` to its module.
_HOMES = {
    "CorporateActionsProcessor": "db.symbols.processor",
    "UniverseDefinition": "db.universe.definition",
    "UniverseManager": "db.universe.manager",
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

"""The names of the second data layer."""

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

__all__ = [
    "CheckResult",
    "DataAwareStrategySelector",
    "DataQualityReport",
    "DataQualityScorer",
    "DataSyncManager",
    "DataValidator",
    "MissingDataHandler",
    "SyncReport",
    "ValidationResult",
]

"""The names of the second data layer."""

from ..utils.validation import ValidationResult
from .missing_data import MissingDataHandler
from .sync import DataSyncManager, SyncReport
from .validation import (
    CheckResult,
    DataAwareStrategySelector,
    DataQualityReport,
    DataQualityScorer,
    DataValidator,
)

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

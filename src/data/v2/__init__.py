"""The names of the second data layer (``v2``) of older programs.

Names that need the extra ``db`` are loaded on first use; ``import *`` leaves them out.
"""

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

if TYPE_CHECKING:
    from ..db.symbols.processor import CorporateActionsProcessor as CorporateActionsProcessor
    from ..db.universe.definition import UniverseDefinition as UniverseDefinition
    from ..db.universe.manager import UniverseManager as UniverseManager

# Maps each name that needs the database to its module.
_HOMES = {
    "CorporateActionsProcessor": "db.symbols.processor",
    "UniverseDefinition": "db.universe.definition",
    "UniverseManager": "db.universe.manager",
}

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


def __getattr__(name: str) -> Any:
    """Import a name that needs the database from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"..{_HOMES[name]}", __name__), name)

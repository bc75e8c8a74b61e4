"""The names of the second data layer."""

from .missing import MissingDataHandler
from .sync import DataSyncManager, SyncReport

__all__ = ["DataSyncManager", "MissingDataHandler", "SyncReport"]

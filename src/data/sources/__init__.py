"""Sources of bars in the words of a backtest: each vendor, the router, and a program's own."""

from __future__ import annotations

from .base import DataSource, DataSourceConfig, DataSourceMetadata

__all__ = ["DataSource", "DataSourceConfig", "DataSourceMetadata"]

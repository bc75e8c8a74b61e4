"""The documented import path of the interface of sources."""

from ..layer.sources import DataSource, DataSourceConfig, DataSourceMetadata

__all__ = ["DataSource", "DataSourceConfig", "DataSourceMetadata"]

"""The documented import path of the catalog of datasets."""

from ..layer.catalog import DataCatalog, DatasetUse, cache_key

__all__ = ["DataCatalog", "DatasetUse", "cache_key"]

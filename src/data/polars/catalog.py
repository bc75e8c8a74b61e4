"""The documented import path of the catalog of datasets."""

from ..layer.catalog import DataCatalog

__all__ = ["DataCatalog"]
